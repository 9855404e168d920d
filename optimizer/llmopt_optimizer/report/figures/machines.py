"""What machines and requests do: memory, use, phases, and a minute of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.report import theme
from llmopt_optimizer.report.evidence import Evidence, PoolPicture

from .parts import CATEGORIES, Figure, bar, line, rounded

STATES = ("decoding", "prefilling", "transferring", "waiting")


def memory(pools: Iterable[PoolPicture]) -> Figure:
    """What fills the memory of one accelerator of each pool."""
    shown = list(pools)
    names = [f"{pool.role} · {pool.accelerator}" for pool in shown]
    parts = {
        "weights": [pool.memory.weights for pool in shown],
        "activations": [pool.memory.activations for pool in shown],
        "runtime": [pool.memory.reserve for pool in shown],
        "sequence states": [pool.memory.states for pool in shown],
        "KV, most in use": [_kv_used(pool) for pool in shown],
        "KV, never used": [_kv_pool(pool) - _kv_used(pool) for pool in shown],
    }
    used = [sum(values[index] for values in parts.values()) for index in range(len(shown))]
    parts["left free"] = [max(0.0, pool.hbm_bytes - total) for pool, total in zip(shown, used, strict=True)]
    colours = (*theme.SERIES[:4], "#3f8f6b", "#bcdccb", "#e6eaee")
    traces = [
        bar(name, names, [value / 1e9 for value in values], colour, "%{x:.3g} GB")
        for (name, values), colour in zip(parts.items(), colours, strict=True)
        if any(values)
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "GB of one accelerator"}},
        "yaxis": CATEGORIES,
    }
    return {"data": traces, "layout": layout}


def _kv_pool(pool: PoolPicture) -> float:
    return pool.memory.kv_capacity_tokens * pool.memory.kv_bytes_per_token


def _kv_used(pool: PoolPicture) -> float:
    return min(_kv_pool(pool), pool.peak_kv_tokens * pool.memory.kv_bytes_per_token)


def utilization(pools: Iterable[PoolPicture]) -> Figure:
    """How busy each pool is: time in steps, and shares of its peak compute, bandwidth and links."""
    traces = [
        bar(
            pool.role, list(pool.shares), [100 * value for value in pool.shares.values()], colour, "%{x:.3g}%"
        )
        for pool, colour in zip(pools, theme.SERIES, strict=False)
    ]
    axis = {"title": {"text": "share of time or peak (%)"}, "range": [0, 100]}
    return {"data": traces, "layout": {"barmode": "group", "xaxis": axis, "yaxis": CATEGORIES}}


def _percent(shares: Mapping[str, float]) -> list[float]:
    return [100 * value for value in shares.values()]


def phases(evidence: Evidence) -> Figure:
    """Where the requests' time goes."""
    traces = [
        bar(name, ["requests"], [100 * value], colour, "%{x:.3g}%")
        for (name, value), colour in zip(evidence.phases.items(), theme.SERIES, strict=False)
    ]
    axis = {"title": {"text": "share of all requests' time (%)"}, "range": [0, 100]}
    return {"data": traces, "layout": {"barmode": "stack", "xaxis": axis, "yaxis": CATEGORIES}}


def minute(evidence: Evidence) -> dict[str, Figure]:
    """A simulated minute: requests in each phase, and tokens a second."""
    series = evidence.minute
    times = rounded(series["time_s"])
    states = [
        _area(name, times, series[name], colour)
        for name, colour in zip(
            ("decoding", "prefilling", "transferring", "waiting"), theme.SERIES, strict=False
        )
    ]
    tokens = [
        line(label, times, series[name], colour)
        for (label, name), colour in zip(
            {"input tokens computed": "input_tokens_per_s", "output tokens": "output_tokens_per_s"}.items(),
            theme.SERIES,
            strict=False,
        )
    ]
    return {
        "states": {"data": states, "layout": _over_time("requests")},
        "tokens": {"data": tokens, "layout": _over_time("tokens a second")},
    }


def _over_time(what: str) -> Figure:
    return {"xaxis": {"title": {"text": "simulated time (s)"}}, "yaxis": {"title": {"text": what}}}


def _area(name: str, times: list[float], values: NDArray[np.float64], colour: str) -> Figure:
    return {
        **line(name, times, values, colour),
        "stackgroup": "states",
        "line": {"width": 0.5, "color": colour},
    }
