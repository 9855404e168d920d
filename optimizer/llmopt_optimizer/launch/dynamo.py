"""A Dynamo graph deployment, `nvidia.com/v1beta1` (Dynamo 1.2 and later): a frontend and one component a
pool.

Dynamo's operator adds ports, and the rendezvous of components that span machines, so those arguments are
left out (Dynamo documentation, "DynamoGraphDeployment reference").
"""

from __future__ import annotations

from collections.abc import Mapping

from .commands import Part, ServerCommand
from .installation import Installation, PoolInstallation
from .manifests import Object, container, with_shared_memory

MODULES = {"sglang": "dynamo.sglang", "vllm": "dynamo.vllm"}
TYPES = {"serve": "worker", "prefill": "prefill", "decode": "decode"}
ROUTER_MODES = {"random": "random", "round_robin": "round-robin", "cache_aware": "kv", "kv_aware": "kv"}
OPERATORS_OWN = (
    "--host",
    "--port",
    "--nnodes",
    "--node-rank",
    "--dist-init-addr",
    "--master-addr",
    "--master-port",
    "--data-parallel-address",
    "--data-parallel-rpc-port",
    "--data-parallel-size-local",
)


def graph(plan: Installation, engine: str, servers: Mapping[str, ServerCommand], image: str) -> Object:
    """The graph deployment of a plan."""
    components = [_frontend(plan, image)]
    components += [_component(plan, pool, engine, servers[pool.role], image) for pool in plan.pools]
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": plan.name},
        "spec": {"backendFramework": engine, "components": components},
    }


def notes(plan: Installation) -> tuple[str, ...]:
    """What Dynamo's router does otherwise than planned."""
    if plan.router in ROUTER_MODES:
        return ()
    return (f"Dynamo's router has no {plan.router} mode; its default spreads requests in turn",)


def _frontend(plan: Installation, image: str) -> Object:
    mode = ROUTER_MODES.get(plan.router, "round-robin")
    main = {
        "name": "main",
        "image": image,
        "command": ["python3", "-m", "dynamo.frontend"],
        "args": ["--router-mode", mode],
    }
    pod = {"spec": {"containers": [main]}}
    return {"name": "Frontend", "type": "frontend", "replicas": 1, "podTemplate": pod}


def _component(
    plan: Installation, pool: PoolInstallation, engine: str, server: ServerCommand, image: str
) -> Object:
    model = ("--model", plan.checkpoint) if engine == "vllm" else ()
    words = (*model, *_without(server.arguments, OPERATORS_OWN))
    spec = with_shared_memory(
        {"containers": [container(pool, image, ("python3", "-m", MODULES[engine]), words)]}
    )
    span = {"multinode": {"nodeCount": pool.nodes}} if pool.nodes > 1 else {}
    return {
        "name": pool.role,
        "type": TYPES[pool.role],
        "replicas": pool.instances,
        **span,
        "podTemplate": {"spec": spec},
    }


def _without(parts: tuple[Part, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments without `options`, each of which takes one value."""
    following = (None, *parts)
    kept = (part for part, before in zip(parts, following, strict=False) if not {part, before} & set(options))
    return tuple(part for part in kept if isinstance(part, str))
