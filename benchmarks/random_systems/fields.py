"""Random values of every field that a run reads, drawn by declaration.

`draw(rng, KvGrowth)` gives one with a random value in every field: a choice among its literals, a coin for a
truth value, and else what `RANGES` says. A field without a range is an error, so that whoever adds a
behaviour adds it here. Some draws break a rule on purpose (a queue limit of a decode pool, say): they must be
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from llmopt_problems.deployment import (
    Caching,
    Deployment,
    KvGrowth,
    Layout,
    PoolDeployment,
    Routing,
    Scheduling,
    Transfers,
)
from llmopt_problems.speculation import Speculation
from llmopt_simulator import (
    ExpertGroups,
    HostTier,
    KvTransfer,
    NearLink,
    PoolService,
    RackLink,
    SimulationOptions,
)

Draw = Callable[[np.random.Generator], Any]
Drawn = TypeVar("Drawn")


class NoRangeError(LookupError):
    """A field that a random system does not know how to draw."""


def draw(rng: np.random.Generator, kind: type[Drawn], **given: object) -> Drawn:
    """An object with a random value in every field that is not `given`."""
    hints, values = get_type_hints(kind), dict(given)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in values:
            values[field.name] = _drawer(kind, field.name, hints[field.name])(rng)
    return kind(**values)


def _drawer(kind: type, name: str, hint: object) -> Draw:
    if name in RANGES.get(kind, {}):
        return RANGES[kind][name]
    if get_origin(hint) is Literal:
        return among(get_args(hint))
    if hint is bool:
        return among((False, True))
    raise NoRangeError(f"{kind.__name__}.{name} has no range: add one to random_systems.fields.RANGES")


def among(values: Sequence[object]) -> Draw:
    """One of `values`, all equally likely."""
    return lambda rng: values[int(rng.integers(len(values)))]


def between(low: float, high: float) -> Draw:
    """A number from `low` to `high`."""
    return lambda rng: float(rng.uniform(low, high))


def count(low: int, high: int) -> Draw:
    """A whole number from `low` to `high`."""
    return lambda rng: int(rng.integers(low, high + 1))


def rarely(value: Draw, share: float, otherwise: object = None) -> Draw:
    """`value` in `share` of the draws."""
    return lambda rng: value(rng) if rng.random() < share else otherwise


def drawn(kind: type) -> Draw:
    """Another object, its fields drawn too."""
    return lambda rng: draw(rng, kind)


MOST_CHUNK: Final = 96
MOST_BATCH: Final = 16
MOST_RANKS: Final = 3
MOST_DRAFTS: Final = 3
"""Bounds that step laws are compiled for."""

RANGES: Final[Mapping[type, Mapping[str, Draw]]] = {
    Layout: {
        "tp": count(1, MOST_RANKS),
        "pp": count(1, 2),
        "ep": among((1,)),  # what it costs is the law's business, not the scheduler's
        "dp": count(1, MOST_RANKS),
        "ffn": among((0,)),  # what accelerators for experts alone cost is the law's business too
        "micro_batches": among((1,)),
    },
    KvGrowth: {
        "conservativeness": among((0.0, 0.0, 0.3, 0.7, 1.0)),
        "conservativeness_floor": among((None, None, 0.0, 0.0, 0.1)),
        "decay_steps": among((1, 5, 600)),
        "watermark": among((0.0, 0.0, 0.01, 0.1)),
    },
    Scheduling: {
        "priorities": among(((), (2, 0, 1), (1, 1, 0), (0,))),
        "queue_limit": rarely(count(0, 4), 0.25),
        "overlapped": among((True, True, True, False)),
        "plan_ahead": among((False, False, False, True)),
        "window_s": among((0.0, 0.0, 0.0, 0.3, 5.0)),
        "window_requests": rarely(count(1, 6), 0.5),
        "step_overhead_s": among((0.0, 0.0, 0.02, 0.3)),
        "growth": rarely(drawn(KvGrowth), 0.7),
    },
    Caching: {
        "page_tokens": among((1, 16)),
        "host_bytes": among((None,)),  # what it comes to is in the service
    },
    PoolDeployment: {
        "accelerator": among(("x",)),
        "layout": drawn(Layout),
        "instances": among((1, 1, 2, 4)),
        "chunk_tokens": among((1, 7, 32, MOST_CHUNK, MOST_CHUNK)),
        "batch_cap": among((1, 3, 8, MOST_BATCH, MOST_BATCH)),
        "scheduling": drawn(Scheduling),
        "speculation": rarely(drawn(Speculation), 0.3),
    },
    Deployment: {"caching": drawn(Caching), "routing": drawn(Routing), "transfers": drawn(Transfers)},
    Transfers: {"overhead_s": among((0.0, 0.0, 0.1))},
    PoolService: {
        "kv_capacity_tokens": among((0, 30, 64, 90, 110, 130, 160, 220, 400, 4000)),
        "page_tokens": among((1, 2, 5, 16)),
        "flops_per_s": among((1e3,)),
        "hbm_bytes_per_s": among((1e2,)),
        "network_bytes_per_s": among((1e1,)),
        "host": rarely(drawn(HostTier), 0.4),
        "experts": rarely(drawn(ExpertGroups), 0.2),
    },
    ExpertGroups: {
        "shares": among(((0.5, 0.5), (0.1, 0.2, 0.7), (1.0, 0.0))),
        "choices_per_token": count(1, 9),
    },
    HostTier: {
        "capacity_tokens": among((0, 10, 60, 1000)),
        "bytes_per_token": among((0.0, 1.0)),
        "bytes_per_s": among((1.0, 40.0, 1e6)),
        "latency_s": among((0.0, 0.05, 1.0)),
    },
    Speculation: {
        "acceptance": among(((0.7,), (1.0,), (0.0, 0.5), (0.9, 0.8, 0.7), ())),
        "draft": among((None,)),  # what it costs is in the service
    },
    KvTransfer: {
        "latency_s": among((0.0, 0.0, 0.05, 1.0)),
        "bytes_per_token": among((0.0, 0.5, 1.0, 2.0, 2.0)),
        "sender_bytes_per_s": among((1.0, 40.0, 1e6)),
        "receiver_bytes_per_s": among((1.0, 40.0, 1e6)),
        "layers": among((1, 2, 80)),
        "near": rarely(drawn(NearLink), 0.95),
        "rack": rarely(drawn(RackLink), 0.5),
    },
    NearLink: {
        "gpus": among((1, 2, 8)),
        "latency_s": among((0.0, 0.01)),
        "sender_bytes_per_s": among((40.0, 1e6)),
        "receiver_bytes_per_s": among((40.0, 1e6)),
    },
    RackLink: {
        "gpus": among((8, 16)),
        "bytes_per_s": among((1.0, 40.0, 1e6)),
        "latency_s": among((0.0, 0.3)),
    },
    Routing: {
        "cache_threshold": between(0.0, 1.0),
        "balance_abs_threshold": between(0.0, 8.0),
        "balance_rel_threshold": between(1.0, 2.0),
        "max_tree_tokens": among((0, 50, 300, 2**24)),
        "eviction_interval_s": among((0.0, 0.5, 10.0)),
        "dp_aware": among((True, True, True, False)),
    },
    SimulationOptions: {
        "warmup_fraction": among((0.0, 0.1, 0.5, None)),
    },
}
