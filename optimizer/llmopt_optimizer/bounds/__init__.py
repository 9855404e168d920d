"""The optimistic reading: what no simulation of a deployment can do better than, from the same laws.

The expected reading of the model proposes deployments; this one bounds them. It knows nothing of queues:
every prompt is computed at once, every rank gets an equal share of the work, every token is served in the
batch that serves it best, every prefix is still in the cache, and a rank may be busy all the time. What is
left is what the requests themselves demand of the step law, and that bounds every run that serves them.
"""
