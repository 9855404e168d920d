"""From a solved deployment to what starts it: engine commands, routers and Kubernetes manifests.

A deployment becomes an `Installation` in no engine's words (what each pool serves, on what, within which
limits); an engine's module says it in flags that its inventory knows; a target packs the commands as a
script or a manifest.
"""
