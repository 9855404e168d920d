"""A pool as vLLM starts it.

vLLM splits attention by data-parallel ranks of `tp / dp` tensor-parallel workers each, counts its caps by
rank, and spreads experts over all `tp` workers or not at all (vLLM documentation, "Expert parallel
deployment").
"""

from __future__ import annotations

import json

from llmopt_optimizer.errors import LaunchError
from llmopt_problems.deployment import Caching

from .commands import Part, ServerCommand, Slot
from .installation import Installation, PoolInstallation
from .inventory import Inventory

SERVER = ("vllm", "serve")
PORT = 8000
RENDEZVOUS_PORT = 29500
RPC_PORT = 13345


def server_command(plan: Installation, pool: PoolInstallation, flags: Inventory) -> ServerCommand:
    """The server of one instance of `pool`.

    Raises `LaunchError` for a layout or a policy that vLLM does not have.
    """
    _require_supported(pool, flags)
    shared: tuple[Part, ...] = (
        *_layout(pool),
        *_limits(pool),
        *_precision(plan),
        "--scheduling-policy",
        pool.scheduling.order,
        *_cache(plan, pool),
        *_transfer(pool),
    )
    address: tuple[Part, ...] = ("--host", Slot.HOST, "--port", Slot.PORT)
    leader, worker = _nodes(pool)
    program = (*SERVER, plan.checkpoint)
    if pool.nodes == 1:
        return ServerCommand(program, (*address, *shared))
    return ServerCommand(program, (*address, *shared, *leader), (*shared, *worker))


def _require_supported(pool: PoolInstallation, flags: Inventory) -> None:
    layout, policy = pool.layout, pool.scheduling
    if layout.ep not in (1, layout.tp):
        raise LaunchError(
            f"{pool.role} pool: vLLM spreads experts over all {layout.tp} tensor-parallel ranks or none, not "
            f"over {layout.ep}: plan with ep 1 or {layout.tp}, or launch with SGLang"
        )
    if policy.mixing == "prefill_first" and pool.role == "serve":
        raise LaunchError("vLLM has no prefill-first steps: plan with decode_first, or launch with SGLang")
    if policy.order == "shortest_prompt":
        raise LaunchError(
            "vLLM has no shortest-prompt order: plan with fcfs or priority, or launch with SGLang"
        )
    if pool.nodes > 1 and layout.dp % pool.nodes and not flags.accepts("--nnodes"):
        raise LaunchError(
            f"vLLM {flags.version} cannot span {pool.nodes} machines without Ray: take a newer "
            "--engine-version"
        )


def _layout(pool: PoolInstallation) -> tuple[str, ...]:
    layout = pool.layout
    parts = ["--tensor-parallel-size", str(layout.attention_tp)]
    if layout.dp > 1:
        parts += ["--data-parallel-size", str(layout.dp)]
    if layout.pp > 1:
        parts += ["--pipeline-parallel-size", str(layout.pp)]
    return (*parts, "--enable-expert-parallel") if layout.ep > 1 else tuple(parts)


def _limits(pool: PoolInstallation) -> tuple[str, ...]:
    return (
        "--max-model-len",
        str(pool.context_tokens),
        "--gpu-memory-utilization",
        f"{pool.memory_fraction:.3f}",
        "--max-num-seqs",
        str(pool.batch_cap * pool.layout.pp),
        "--max-num-batched-tokens",
        str(pool.chunk_tokens),
    )


def _precision(plan: Installation) -> tuple[str, ...]:
    weights = () if plan.quantization is None else ("--quantization", plan.quantization)
    return ("--kv-cache-dtype", "fp8" if plan.precision.kv == "fp8" else "auto", *weights)


def _cache(plan: Installation, pool: PoolInstallation) -> tuple[str, ...]:
    """VLLM evicts by LRU only; its host buffer is that of all workers that share a KV cache."""
    caching, usual = plan.caching, Caching()
    if caching.eviction != usual.eviction:
        raise LaunchError(
            f"vLLM evicts by lru, not by {caching.eviction}: plan with lru, or launch with SGLang"
        )
    pages = () if caching.page_tokens == usual.page_tokens else ("--block-size", str(caching.page_tokens))
    if not plan.prefix_cache:
        return (*pages, "--no-enable-prefix-caching")
    if caching.host_bytes is None or pool.role == "decode":
        return (*pages, "--enable-prefix-caching")
    size = caching.host_bytes * pool.layout.attention_tp * pool.layout.pp / 2**30
    host = ("--kv-offloading-backend", "native", "--kv-offloading-size", f"{size:.3f}")
    return (*pages, "--enable-prefix-caching", *host)


def _transfer(pool: PoolInstallation) -> tuple[str, ...]:
    if pool.role == "serve":
        return ()
    connector = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
    return ("--kv-transfer-config", json.dumps(connector))


def _nodes(pool: PoolInstallation) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """What the first machine of an instance is told, and the others: ranks by machine, or one group over
    all.
    """
    if pool.layout.dp % pool.nodes:
        return _one_group(pool, ()), _one_group(pool, ("--headless",))
    local = str(pool.layout.dp // pool.nodes)
    group: tuple[Part, ...] = (
        "--data-parallel-size-local",
        local,
        "--data-parallel-address",
        Slot.LEADER,
        "--data-parallel-rpc-port",
        str(RPC_PORT),
    )
    return group, (*group, "--headless", "--data-parallel-start-rank", Slot.FIRST_RANK)


def _one_group(pool: PoolInstallation, extra: tuple[str, ...]) -> tuple[Part, ...]:
    group = ("--nnodes", str(pool.nodes), "--node-rank", Slot.NODE_RANK, "--master-addr", Slot.LEADER)
    return (*group, "--master-port", str(RENDEZVOUS_PORT), *extra)
