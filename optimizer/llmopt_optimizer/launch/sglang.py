"""A pool and a router as SGLang starts them.

SGLang counts `--max-running-requests` and `--chunked-prefill-size` over all attention data-parallel ranks,
and the first over all pipeline stages too; the plan counts by rank (SGLang, `server_args.py` and
`managers/scheduler.py`).
"""

from __future__ import annotations

from math import ceil, floor

from llmopt_optimizer.errors import LaunchError
from llmopt_problems.deployment import Caching, Routing

from .commands import Part, ServerCommand, Slot
from .installation import Installation, PoolInstallation
from .inventory import Inventory

SERVER = ("python", "-m", "sglang.launch_server")
ROUTER = ("python", "-m", "sglang_router.launch_router")
PORT = 30000
BOOTSTRAP_PORT = 8998
RENDEZVOUS_PORT = 20000
ORDERS = {"fcfs": "fcfs", "shortest_prompt": "shortest-prefill-first", "priority": "priority"}
FIRST_NEW_TOKEN_RATIO = 0.7
"""SGLang's `SGLANG_INIT_NEW_TOKEN_RATIO`, by which it multiplies `--schedule-conservativeness`."""


def server_command(plan: Installation, pool: PoolInstallation, flags: Inventory) -> ServerCommand:
    """The server of one instance of `pool`.

    Raises `LaunchError` for a policy that this version of SGLang does not have.
    """
    arguments: tuple[Part, ...] = (
        "--model-path",
        plan.checkpoint,
        *_address(),
        *_layout(pool, flags),
        *_limits(pool),
        *_scheduling(pool, flags),
        *_precision(plan, flags),
        *_cache(plan, pool, flags),
        *_role(pool),
        *_nodes(pool),
    )
    return ServerCommand(SERVER, arguments)


def _address() -> tuple[Part, ...]:
    return ("--host", Slot.HOST, "--port", Slot.PORT)


def _layout(pool: PoolInstallation, flags: Inventory) -> tuple[str, ...]:
    layout = pool.layout
    parts = ["--tp-size", str(layout.tp)]
    if layout.pp > 1:
        parts += [_pipeline_flag(flags), str(layout.pp)]
    if layout.ep > 1:
        parts += ["--ep-size", str(layout.ep)]
    if layout.dp > 1 and flags.accepts("--attn-dp-size"):
        parts += ["--attn-dp-size", str(layout.dp)]
    elif layout.dp > 1:
        parts += ["--dp-size", str(layout.dp), "--enable-dp-attention"]
    return tuple(parts)


def _pipeline_flag(flags: Inventory) -> str:
    return "--pp-size" if flags.accepts("--pp-size") else "--pipeline-parallel-size"


def _limits(pool: PoolInstallation) -> tuple[str, ...]:
    ranks = pool.layout.dp
    return (
        "--context-length",
        str(pool.context_tokens),
        "--mem-fraction-static",
        f"{pool.static_fraction:.3f}",
        "--max-total-tokens",
        str(pool.kv_tokens),
        "--max-running-requests",
        str(pool.batch_cap * ranks * pool.layout.pp),
        "--chunked-prefill-size",
        str(pool.chunk_tokens * ranks),
    )


def _scheduling(pool: PoolInstallation, flags: Inventory) -> tuple[str, ...]:
    policy = pool.scheduling
    parts = ["--schedule-policy", _order(policy.order, flags)]
    if policy.order == "priority":
        parts.append("--enable-priority-scheduling")
    if policy.mixing == "decode_first" and pool.role == "serve":
        parts.append("--enable-mixed-chunk")
    if policy.queue_limit is not None:
        parts += ["--max-queued-requests", str(policy.queue_limit * pool.layout.dp)]
    if policy.growth is not None and policy.growth.conservativeness > 0:
        share = policy.growth.conservativeness / FIRST_NEW_TOKEN_RATIO
        parts += ["--schedule-conservativeness", f"{share:.3f}"]
    return tuple(parts)


def _order(order: str, flags: Inventory) -> str:
    flag, name = flags.flag("--schedule-policy"), ORDERS[order]
    if flag is None or (flag.choices and name not in flag.choices):
        raise LaunchError(
            f"SGLang {flags.version} has no schedule policy {name} (queue order {order}): take a newer "
            "--engine-version, or plan with order fcfs"
        )
    return name


def _precision(plan: Installation, flags: Inventory) -> tuple[str, ...]:
    cache = flags.flag("--kv-cache-dtype")
    wide = "bf16" if cache is not None and "bf16" in cache.choices else "auto"
    weights = () if plan.quantization is None else ("--quantization", plan.quantization)
    return ("--kv-cache-dtype", "fp8_e4m3" if plan.precision.kv == "fp8" else wide, *weights)


def _cache(plan: Installation, pool: PoolInstallation, flags: Inventory) -> tuple[str, ...]:
    caching, usual = plan.caching, Caching()
    pages = () if caching.page_tokens == usual.page_tokens else ("--page-size", str(caching.page_tokens))
    if not plan.prefix_cache:
        return (*pages, "--disable-radix-cache")
    parts = [*pages]
    if caching.eviction != usual.eviction:
        parts += ["--radix-eviction-policy", _eviction(caching.eviction, flags)]
    if caching.host_bytes is not None and pool.role != "decode":
        parts += ["--enable-hierarchical-cache", "--hicache-size", str(_host_gigabytes(caching.host_bytes))]
    return tuple(parts)


def _eviction(name: str, flags: Inventory) -> str:
    flag = flags.flag("--radix-eviction-policy")
    if flag is None or (flag.choices and name not in flag.choices):
        known = ", ".join(flag.choices) if flag is not None else "none"
        raise LaunchError(f"SGLang {flags.version} does not evict by {name}, only by {known}: plan with lru")
    return name


def _host_gigabytes(host_bytes: float) -> int:
    """Of one worker, which has one accelerator; SGLang takes whole ones."""
    if host_bytes < 1e9:
        raise LaunchError("SGLang's host cache has whole gigabytes: plan with host_memory of 1 GB or more")
    return floor(host_bytes / 1e9)


def _role(pool: PoolInstallation) -> tuple[str, ...]:
    if pool.role == "serve":
        return ()
    port = ("--disaggregation-bootstrap-port", str(BOOTSTRAP_PORT)) if pool.role == "prefill" else ()
    return ("--disaggregation-mode", pool.role, *port)


def _nodes(pool: PoolInstallation) -> tuple[Part, ...]:
    if pool.nodes == 1:
        return ()
    rendezvous = (Slot.LEADER, f":{RENDEZVOUS_PORT}")
    return ("--nnodes", str(pool.nodes), "--node-rank", Slot.NODE_RANK, "--dist-init-addr", rendezvous)


ROUTER_POLICIES = {name: name for name in ("random", "round_robin", "cache_aware", "power_of_two")}
"""The router's words for policies of the plan; the others have none."""


def router_policy(plan: Installation) -> tuple[str, tuple[str, ...]]:
    """The router's policy, and a note where it is only the nearest to the planned one."""
    if plan.router in ROUTER_POLICIES:
        return ROUTER_POLICIES[plan.router], ()
    note = f"SGLang's router has no {plan.router} policy; power_of_two is the nearest that looks at load"
    return "power_of_two", (note,)


def router_options(plan: Installation) -> tuple[str, ...]:
    """The router's options apart from its address and its workers."""
    policy, _ = router_policy(plan)
    decode = ROUTER_POLICIES.get(plan.routing.decode, "power_of_two")
    apart = ("--pd-disaggregation", "--decode-policy", decode) if plan.mode == "disaggregated" else ()
    ranks = plan.routing.dp_aware and any(pool.layout.dp > 1 for pool in plan.pools)
    return (*apart, "--policy", policy, *(("--dp-aware",) if ranks else ()), *_thresholds(plan.routing))


def _thresholds(routing: Routing) -> tuple[str, ...]:
    """Settings that differ from the router's own; its tree counts characters, four to a token."""
    usual = Routing()
    values = {
        "--cache-threshold": (routing.cache_threshold, usual.cache_threshold),
        "--balance-abs-threshold": (ceil(routing.balance_abs_threshold), ceil(usual.balance_abs_threshold)),
        "--balance-rel-threshold": (routing.balance_rel_threshold, usual.balance_rel_threshold),
        "--max-tree-size": (4 * routing.max_tree_tokens, 4 * usual.max_tree_tokens),
        "--eviction-interval-secs": (ceil(routing.eviction_interval_s), ceil(usual.eviction_interval_s)),
    }
    given = [(flag, str(value)) for flag, (value, own) in values.items() if value != own]
    return tuple(word for pair in given for word in pair)
