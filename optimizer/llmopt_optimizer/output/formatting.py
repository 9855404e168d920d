"""Numbers as people read them: three significant digits and a unit, the same wherever they are printed.

A metric's name ends in its unit (`ttft_p95_s`, `weights_bytes`, `power_watts`), so the name alone decides how
its value is shown. Nothing else in the project turns a metric into text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from llmopt_problems.deployment import Deployment, PoolDeployment
from llmopt_problems.metrics_catalog import METRICS, STATISTICS, MetricInfo, metric_key
from llmopt_problems.schema.service import ServiceLevel
from llmopt_problems.units import Dimension

ABSENT = "–"

_ACRONYMS = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2e": "E2E",
    "gpus": "GPUs",
    "kv": "KV",
    "slo": "SLO",
}


def number(value: float) -> str:
    """`value` with three significant digits, thousands separated; a dash when it is not known."""
    if math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    rounded = float(f"{value:.3g}")
    if rounded == 0 or not 1e-4 <= abs(rounded) < 1e15:
        return f"{value:.3g}"
    if abs(rounded) >= 100:
        return f"{value:,.0f}"
    return f"{rounded:.{2 - math.floor(math.log10(abs(rounded)))}f}"


def duration(seconds: float) -> str:
    """A latency or an elapsed time in the unit that suits its size: µs, ms, s or min."""
    if math.isinf(seconds):
        return number(seconds)
    for limit, factor, unit in ((0.9995e-3, 1e6, "µs"), (0.9995, 1e3, "ms"), (120.0, 1.0, "s")):
        if 0 < abs(seconds) < limit:
            return f"{number(seconds * factor)} {unit}"
    return f"{number(seconds / 60)} min" if abs(seconds) >= 120.0 else f"{number(seconds)} s"


def _scaled(unit: str, factor: float = 1.0) -> Callable[[float], str]:
    return lambda value: f"{number(value * factor)} {unit}"


def count(value: float) -> str:
    """A whole number in full, a fraction with three digits."""
    return f"{value:,.0f}" if math.isfinite(value) and value == int(value) else number(value)


def share(value: float) -> str:
    """A fraction of one as a percentage."""
    return f"{number(value * 100)}%"


_BY_DIMENSION: dict[Dimension, Callable[[float], str]] = {
    "time": duration,
    "request_rate": _scaled("req/s"),
    "token_rate": _scaled("tok/s"),
    "price": _scaled("$/h"),
    "money": _scaled("$/M tok"),  # the only metric in dollars is the cost per million output tokens
    "memory": _scaled("GB", 1e-9),
    "power": _scaled("W"),
    "energy": _scaled("J/tok"),  # the only metric in joules is the energy per output token
    "share": share,
    "count": count,
}
_UNCATALOGED: dict[str, Callable[[float], str]] = {
    "_tokens_per_s": _scaled("tok/s"),
    "_requests_per_s": _scaled("req/s"),
    "_s": duration,
    "_bytes": _scaled("GB", 1e-9),
    "_rate": share,
    "_attainment": share,
    "_share": share,
}
"""Ends of names that the simulator reports beside the metrics of the catalog."""


def _catalog_entry(name: str) -> MetricInfo | None:
    """The catalog's metric that the key `name` belongs to: `ttft_p95_s` and `chat:ttft_p95_s` to `ttft`."""
    key = name.rpartition(":")[2]
    return next((info for info in METRICS.values() if key in _keys(info)), None)


def _keys(info: MetricInfo) -> list[str]:
    """The catalog's name and every key under which its numbers travel."""
    statistics = STATISTICS if info.needs_statistic else (None,)
    return [info.name, *(metric_key(info.name, statistic) for statistic in statistics)]


def metric_value(name: str, value: float) -> str:
    """The value of metric `name` with its unit, as in `1.93 s`, `38.2 ms`, `0.872 $/M tok`."""
    if math.isnan(value):
        return ABSENT
    entry = _catalog_entry(name)
    if entry is not None:
        return _BY_DIMENSION[entry.dimension](value)
    matching = (render for suffix, render in _UNCATALOGED.items() if name.endswith(suffix))
    return next(matching, number)(value)


def interval(name: str, low: float, high: float) -> str:
    """A confidence interval of metric `name`; `exact` when it has no width."""
    if low == high:
        return "exact"
    return f"{metric_value(name, low)} to {metric_value(name, high)}"


def with_unit(value: float, unit: str) -> str:
    """A number of a limit: seconds become latencies, other units stay behind the number."""
    if unit in ("s", "second", "seconds"):
        return duration(value)
    if unit in ("B", "bytes"):
        return _BY_DIMENSION["memory"](value)
    return f"{count(value)} {unit}".rstrip()


def metric_label(name: str) -> str:
    """What a metric is called: `ttft_p95_s` is `p95 TTFT`, `chat:ttft_p95_s` is `p95 TTFT of chat`."""
    request_class, colon, key = name.rpartition(":")
    if colon:
        return f"{metric_label(key)} of {request_class}"
    entry = _catalog_entry(name)
    suffix = f"_{entry.suffix}" if entry and entry.suffix else ""
    stem = "throughput" if name.startswith("throughput_") else name.removesuffix(suffix)
    words = stem.split("_")
    leading = [word for word in words if word in STATISTICS]
    rest = [_ACRONYMS.get(word, word) for word in words if word not in STATISTICS]
    return " ".join(leading + rest)


def titled(name: str, units: Mapping[str, str]) -> str:
    """The label of a metric over its values, with the unit where the metric is one that declares it."""
    return f"{metric_label(name)} ({units[name]})" if name in units else metric_label(name)


def level_text(level: ServiceLevel) -> str:
    """A service level as a person says it: `p95 TTFT ≤ 2.00 s`. It starts with the label of its metric."""
    sign = "≤" if level.bound == "at_most" else "≥"
    own = level.info is None
    value = with_unit(level.value, level.unit_text) if own else metric_value(level.key, level.value)
    return f"{metric_label(level.key)} {sign} {value}"


def statistic_of(name: str) -> tuple[str, str] | None:
    """`("ttft", "p95")` for the metric `ttft_p95_s`; None for a metric that is one number a deployment."""
    entry = _catalog_entry(name)
    if entry is None or not entry.needs_statistic:
        return None
    return entry.name, name.removeprefix(f"{entry.name}_").removesuffix(f"_{entry.suffix}")


def layout_text(pool: PoolDeployment) -> str:
    """The parallel layout of a pool's instances, trivial degrees left out: `TP 4 · PP 2`."""
    layout = pool.layout
    degrees = (("PP", layout.pp), ("EP", layout.ep), ("DP", layout.dp))
    shown = [f"TP {layout.tp}", *(f"{name} {degree}" for name, degree in degrees if degree > 1)]
    apart = [f"FFN {layout.ffn}", f"micro-batches {layout.micro_batches}"] if layout.ffn else []
    return " · ".join([*shown, *apart])


def pool_text(pool: PoolDeployment) -> str:
    """One pool in a phrase: `2 × H200-SXM TP 4, chunk 2048, batch 128`."""
    shape = f"{pool.instances} × {layout_text(pool)} on {pool.accelerator}"
    return f"{shape}, chunk {pool.chunk_tokens}, batch {pool.batch_cap}"


def deployment_text(deployment: Deployment) -> str:
    """A deployment in a line; a disaggregated one names its pools."""
    if len(deployment.pools) == 1:
        return pool_text(deployment.pools[0])
    return " | ".join(f"{pool.role}: {pool_text(pool)}" for pool in deployment.pools)


def deployment_sentences(deployment: Deployment) -> list[str]:
    """What to launch, in words, for a person who will do it: one sentence a pool, one for the whole."""
    router = deployment.router.replace("_", "-")
    cache = "on" if deployment.prefix_cache else "off"
    closing = f"Route by {router}; prefix cache {cache}; {deployment.gpus} GPUs in all."
    return [*map(_pool_sentence, deployment.pools), closing]


def _pool_sentence(pool: PoolDeployment) -> str:
    purpose = {"serve": "serving", "prefill": "for prefill", "decode": "for decode"}[pool.role]
    plural = "instance" if pool.instances == 1 else "instances"
    return (
        f"{pool.instances} {plural} {purpose}, each {layout_text(pool)} on {pool.layout.world} "
        f"{pool.accelerator}, with {pool.chunk_tokens} tokens a step "
        f"and at most {pool.batch_cap} running requests a rank."
    )
