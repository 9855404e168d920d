"""Kubernetes objects: a Deployment where an instance fits on a machine, a LeaderWorkerSet where it spans
several.

LeaderWorkerSet: `leaderworkerset.x-k8s.io/v1`; it gives each pod `LWS_LEADER_ADDRESS` and `LWS_WORKER_INDEX`.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import sglang
from .commands import ServerCommand
from .installation import Installation, PoolInstallation
from .manifests import Object, arguments_of, container, with_shared_memory, worker_line


def objects(plan: Installation, servers: Mapping[str, ServerCommand], image: str, port: int) -> list[Object]:
    """Workloads and services of every pool."""
    found: list[Object] = []
    for pool in plan.pools:
        name = f"{plan.name}-{pool.role}"
        workload = _deployment if pool.nodes == 1 else _leader_worker_set
        found += [workload(name, pool, servers[pool.role], image, port), _service(name, pool, port)]
    return found


def router_objects(plan: Installation, image: str) -> list[Object]:
    """SGLang's router, which finds the pods of the pools by their labels."""
    name = f"{plan.name}-router"
    spec = {
        "serviceAccountName": name,
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": list(sglang.ROUTER),
                "args": ["--host", "0.0.0.0", *sglang.router_options(plan), *_discovery(plan)],
            }
        ],
    }
    labels = {"app": name}
    return [
        *_access(name),
        _apps("Deployment", name, 1, labels, spec),
        _exposed(name, labels, sglang.PORT),
    ]


def _discovery(plan: Installation) -> tuple[str, ...]:
    shared = ("--service-discovery", "--service-discovery-port", str(sglang.PORT))
    if plan.mode == "aggregated":
        return (*shared, "--selector", f"app={plan.name}-serve")
    prefill, decode = f"app={plan.name}-prefill", f"app={plan.name}-decode"
    return (*shared, "--prefill-selector", prefill, "--decode-selector", decode)


def _access(name: str) -> list[Object]:
    """The account with which the router may list pods."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    subject = {"kind": "ServiceAccount", "name": name}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {"apiVersion": rbac, "kind": "Role", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "subjects": [subject],
            "roleRef": reference,
        },
    ]


def _deployment(name: str, pool: PoolInstallation, server: ServerCommand, image: str, port: int) -> Object:
    main = container(pool, image, server.program, arguments_of(server, port))
    main["ports"] = [{"containerPort": port}]
    main["readinessProbe"] = _ready(port)
    return _apps(
        "Deployment", name, pool.instances, _labels(name, pool), with_shared_memory({"containers": [main]})
    )


def _leader_worker_set(
    name: str, pool: PoolInstallation, server: ServerCommand, image: str, port: int
) -> Object:
    leader = container(pool, image, server.program, arguments_of(server, port))
    leader["ports"] = [{"containerPort": port}]
    leader["readinessProbe"] = _ready(port)
    labels = _labels(name, pool)
    template = {
        "size": pool.nodes,
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": _pod({**labels, "leader": "true"}, leader),
        "workerTemplate": _pod({"app": f"{name}-worker"}, _worker(pool, server, image, port)),
    }
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": pool.instances, "leaderWorkerTemplate": template},
    }


def _worker(pool: PoolInstallation, server: ServerCommand, image: str, port: int) -> Object:
    return container(pool, image, ("/bin/bash", "-c"), (worker_line(pool, server, port),))


def _pod(labels: Mapping[str, str], main: Object) -> Object:
    return {"metadata": {"labels": dict(labels)}, "spec": with_shared_memory({"containers": [main]})}


def _labels(name: str, pool: PoolInstallation) -> dict[str, str]:
    return {"app": name, "llmopt.role": pool.role}


def _ready(port: int) -> Object:
    return {"httpGet": {"path": "/health", "port": port}, "periodSeconds": 10, "failureThreshold": 360}


def _apps(kind: str, name: str, replicas: int, labels: Mapping[str, str], spec: Object) -> Object:
    template = {"metadata": {"labels": dict(labels)}, "spec": spec}
    selector = {"matchLabels": {"app": labels["app"]}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }


def _service(name: str, pool: PoolInstallation, port: int) -> Object:
    leaders = {"leader": "true"} if pool.nodes > 1 else {}
    return _exposed(name, {"app": name, **leaders}, port)


def _exposed(name: str, selector: Mapping[str, str], port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": dict(selector), "ports": [{"name": "http", "port": port, "targetPort": port}]},
    }
