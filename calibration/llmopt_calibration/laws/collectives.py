"""Collectives and point-to-point sends: α + bytes / β, inside a node and between nodes.

The payload `message_bytes` is the whole tensor: on every rank (all_reduce, reduce_scatter), after gathering
(all_gather), sent by one rank to all of them, itself included (all_to_all), or sent (send). Over r ranks a
bandwidth-optimal algorithm moves (r − 1)/r of it through each rank's link, an all-reduce twice that (Thakur
et al., 2005). With `nodes` > 1 the node step is followed by one between nodes on each rank's own share,
message / (r / nodes), hierarchically as NCCL does; an all-to-all sends the fraction (nodes − 1)/nodes over
the network instead. `ranks` = 1 costs nothing; `nodes` is max(1, ranks / accelerators joined by the scale-
up link).

A message of n bytes is cut into c chunks that follow one another through the ranks. They pay c latencies,
and the pipeline is filled after n / c bytes; the best c makes both together grow with √n, which is written
√(n · `ramp_bytes`) over the link's rate.
"""

from __future__ import annotations

from sympy import Expr, Integer, Max, Min, Symbol, sqrt

from llmopt_calibration.laws.law import HARDWARE, Coefficient, Law, coefficient, size, smooth_max


def _coefficients(latency_s: float) -> tuple[Coefficient, ...]:
    return (
        coefficient("overhead_s", latency_s, 5e-7, 1e-3, "s", "launch and first synchronisation"),
        coefficient("rank_s", 5e-7, 0.0, 1e-4, "s/rank", "synchronisation with each further rank"),
        coefficient("link_efficiency", 0.75, 0.02, 1.0, "1", "fraction of the scale-up link"),
        coefficient("network_efficiency", 0.80, 0.02, 1.0, "1", "fraction of the link between nodes"),
        coefficient("ramp_bytes", 1e5, 1.0, 1e9, "B", "bytes in flight while the pipeline of chunks fills"),
    )


def _exchange(family: str, factor: int, latency_s: float, *, hierarchical: bool) -> Law:
    message, ranks, nodes = (
        size("message_bytes"),
        Symbol("ranks", positive=True),
        Symbol("nodes", positive=True),
    )
    coefficients = _coefficients(latency_s)
    overhead, rank_s, e_link, e_net, ramp = (item.symbol for item in coefficients)
    per_node = ranks / nodes
    inside: Expr = factor * message * (per_node - 1) / per_node
    between: Expr = factor * message * (nodes - 1) / nodes
    if hierarchical:
        between = between / per_node
    else:
        inside = inside / nodes
    # Layouts that no engine has (fewer than one rank) still get a number, which their rules then refuse.
    link_s = (inside + sqrt(Max(0, inside) * ramp)) / (HARDWARE.link_bytes_per_s * e_link)
    network_s = between / (HARDWARE.network_bytes_per_s * e_net)
    latency = Min(1, ranks - 1) * overhead + (ranks - 1) * rank_s
    latency += Min(1, nodes - 1) * HARDWARE.network_latency_s
    seconds = latency + link_s + network_s
    shape = (message, ranks, nodes)
    return Law(family, shape, coefficients, seconds, Integer(0), Integer(0), inside + between)


def all_reduce() -> Law:
    """The law `all_reduce`: a sum of `message_bytes` held by every rank."""
    return _exchange("all_reduce", 2, 8e-6, hierarchical=True)


def all_gather() -> Law:
    """The law `all_gather`: `message_bytes` after gathering."""
    return _exchange("all_gather", 1, 8e-6, hierarchical=True)


def reduce_scatter() -> Law:
    """The law `reduce_scatter`: `message_bytes` before scattering."""
    return _exchange("reduce_scatter", 1, 8e-6, hierarchical=True)


def all_to_all() -> Law:
    """The law `all_to_all`: `message_bytes` sent by each rank, spread evenly over all ranks."""
    return _exchange("all_to_all", 1, 2e-5, hierarchical=False)


def _expert_exchange(family: str) -> Law:
    """Copies of a rank's tokens to the expert groups that they chose, or back, by kernels of their own.

    DeepEP's kernels announce the tokens of each of `experts` and write them into the memory of its rank at
    the same time: the longer of the two decides.
    """
    message, experts = size("message_bytes"), size("experts")
    ranks, nodes = Symbol("ranks", positive=True), Symbol("nodes", positive=True)
    coefficients = (
        coefficient("overhead_s", 1e-5, 5e-7, 1e-3, "s", "launch and first synchronisation"),
        coefficient("expert_s", 1e-8, 1e-12, 1e-6, "s/expert", "announcement of an expert's tokens"),
        coefficient("link_efficiency", 0.75, 0.02, 1.0, "1", "fraction of the scale-up link"),
        coefficient("network_efficiency", 0.80, 0.02, 1.0, "1", "fraction of the link between nodes"),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the corner between latency and bandwidth"),
    )
    overhead, expert_s, e_link, e_net, q = (item.symbol for item in coefficients)
    inside: Expr = message * Max(0, ranks / nodes - 1) / ranks
    between: Expr = message * (nodes - 1) / nodes
    latency = Min(1, ranks - 1) * (overhead + expert_s * experts)
    link_s = inside / (HARDWARE.link_bytes_per_s * e_link)
    network_s = between / (HARDWARE.network_bytes_per_s * e_net)
    network_s += Min(1, nodes - 1) * HARDWARE.network_latency_s
    seconds = smooth_max(Max(0, latency), link_s, q) + network_s
    shape = (message, ranks, nodes, experts)
    return Law(family, shape, coefficients, seconds, Integer(0), Integer(0), inside + between)


def expert_dispatch() -> Law:
    """The law `expert_dispatch`: a rank's tokens to their experts."""
    return _expert_exchange("expert_dispatch")


def expert_combine() -> Law:
    """The law `expert_combine`: the experts' results back to a rank's tokens."""
    return _expert_exchange("expert_combine")


def send() -> Law:
    """The law `send`: `message_bytes` to one neighbour, over the network when `nodes` is 2, else scale-up."""
    message, nodes = size("message_bytes"), Symbol("nodes", positive=True)
    coefficients = _coefficients(8e-6)
    overhead, _, e_link, e_net, _ = (item.symbol for item in coefficients)
    across = Min(1, nodes - 1)
    link_s = message / (HARDWARE.link_bytes_per_s * e_link)
    network_s = HARDWARE.network_latency_s + message / (HARDWARE.network_bytes_per_s * e_net)
    seconds = overhead + (1 - across) * link_s + across * network_s
    used = (coefficients[0], *coefficients[2:4])
    return Law("send", (message, nodes), used, seconds, Integer(0), Integer(0), message)
