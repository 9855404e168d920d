"""Values of the `llm-d-modelservice` Helm chart, which serves with vLLM
(llm-d-incubation/llm-d-modelservice).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from .commands import ServerCommand
from .installation import Installation, PoolInstallation
from .manifests import GPU, TOKEN_SECRET, Object, arguments_of, spanning_line

SERVICE_PORT = 8000
BEHIND_PROXY_PORT = 8200
"""Where decode servers listen when the chart's routing sidecar stands before them
(`routing.proxy.targetPort`)."""
SIDE_CHANNEL_PORT = 5600
"""NIXL's handshake port, `VLLM_NIXL_SIDE_CHANNEL_PORT`."""


def values(plan: Installation, servers: Mapping[str, ServerCommand], image: str) -> Object:
    """The chart's values: a decode pool that serves alone, or a decode and a prefill pool."""
    by_role = {pool.role: pool for pool in plan.pools}
    main = by_role.get("decode", by_role.get("serve"))
    assert main is not None
    split = plan.mode == "disaggregated"
    return {
        "modelArtifacts": {
            "name": plan.checkpoint,
            "uri": f"hf://{plan.checkpoint}",
            "authSecretName": TOKEN_SECRET,
            "labels": {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": plan.name},
        },
        "multinode": any(pool.nodes > 1 for pool in plan.pools),
        "routing": {
            "servicePort": SERVICE_PORT,
            "proxy": {"enabled": split, "targetPort": BEHIND_PROXY_PORT},
        },
        "decode": _pool(main, servers[main.role], image, BEHIND_PROXY_PORT if split else SERVICE_PORT),
        "prefill": _pool(by_role["prefill"], servers["prefill"], image, SERVICE_PORT)
        if split
        else {"create": False, "replicas": 0},
    }


def _pool(pool: PoolInstallation, server: ServerCommand, image: str, port: int) -> Object:
    layout = pool.layout
    parallelism = {"tensor": layout.attention_tp, "data": layout.dp, "workers": pool.nodes}
    if layout.dp > 1:
        parallelism["dataLocal"] = max(1, layout.dp // pool.nodes)
    return {
        "create": True,
        "replicas": pool.instances,
        "parallelism": parallelism,
        "containers": [_container(pool, server, image, port)],
    }


def _container(pool: PoolInstallation, server: ServerCommand, image: str, port: int) -> Object:
    """VLLM under `vllm serve MODEL`, which the chart spells for `modelCommand: vllmServe`, on one machine."""
    shared: Object = {
        "name": "vllm",
        "image": image,
        "ports": [{"containerPort": port, "name": "http"}],
        "env": _environment(pool),
        "resources": {"limits": {GPU: str(pool.gpus_per_node)}, "requests": {GPU: str(pool.gpus_per_node)}},
        "mountModelVolume": True,
    }
    if pool.nodes == 1:
        return {**shared, "modelCommand": "vllmServe", "args": list(arguments_of(server, port))}
    line = spanning_line(pool, server, port)
    return {**shared, "modelCommand": "custom", "command": ["/bin/bash", "-c"], "args": [line]}


def _environment(pool: PoolInstallation) -> list[Object]:
    if pool.role == "serve":
        return []
    host = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    return [
        {"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", **host},
        {"name": "VLLM_NIXL_SIDE_CHANNEL_PORT", "value": json.dumps(SIDE_CHANNEL_PORT)},
    ]
