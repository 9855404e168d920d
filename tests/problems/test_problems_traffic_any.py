"""Any traffic that the schema accepts is drawn soundly, deterministically, and as its summary says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmopt_problems.schema import Traffic
from llmopt_problems.traffic import TrafficSummary, Workload, sample, traffic_summary

rates = st.floats(1e-3, 1e3)
seconds = st.floats(1e-3, 1e4)


def lengths(most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Length sections of every family up to `most` tokens."""
    low, high = st.integers(1, most // 2), st.integers(most // 2, most)
    mean, cv = st.floats(1, most / 2), st.floats(0.01, 5)
    return st.one_of(
        st.builds(lambda n: {"distribution": "constant", "value": n}, high),
        st.builds(lambda a, b: {"distribution": "uniform", "min": a, "max": b}, low, high),
        st.builds(lambda m, c: {"distribution": "lognormal", "mean": m, "cv": c, "max": most}, mean, cv),
        st.builds(lambda m: {"distribution": "exponential", "mean": m, "max": most}, mean),
        st.builds(lambda m, c: {"distribution": "normal", "mean": m, "cv": c, "max": most}, mean, cv),
        st.builds(
            lambda s, a, b: {"distribution": "zipf", "exponent": s, "min": a, "max": b},
            st.floats(0, 5),
            low,
            high,
        ),
        st.builds(
            lambda v: {"distribution": "empirical", "values": v}, st.lists(high, min_size=1, max_size=5)
        ),
    )


curves = st.lists(rates, min_size=1, max_size=5).map(
    lambda found: [{"at_s": 10 * index, "rate_per_s": rate} for index, rate in enumerate(found)]
)
arrivals = st.one_of(
    st.builds(lambda r: {"process": "poisson", "rate_per_s": r}, rates),
    st.builds(lambda r, c: {"process": "gamma", "rate_per_s": r, "cv": c}, rates, st.floats(0.001, 20)),
    st.builds(lambda r, c: {"process": "weibull", "rate_per_s": r, "cv": c}, rates, st.floats(0.01, 20)),
    st.builds(lambda r: {"process": "deterministic", "rate_per_s": r}, rates),
    st.builds(
        lambda r, a, b: {"process": "on_off", "rate_per_s": r, "burst_s": a, "silence_s": b},
        rates,
        seconds,
        seconds,
    ),
    st.builds(lambda r, s: {"process": "batch", "rate_per_s": r, "size": s}, rates, lengths(30)),
    st.builds(
        lambda p, t, s: {"process": "day_curve", "period_s": t, "points": p, "start_s": s},
        curves,
        st.floats(60, 1e5),
        seconds,
    ),
    st.builds(
        lambda r, a, t: {"process": "sinusoid", "rate_per_s": r, "swing": a, "period_s": t},
        rates,
        st.floats(0, 1),
        seconds,
    ),
    st.builds(
        lambda n, t, c: {"process": "closed_loop", "concurrency": n, "think_time_s": t, "think_time_cv": c},
        st.integers(1, 50),
        st.floats(0, 100),
        st.floats(0, 5),
    ),
)
prefixes = st.none() | st.builds(
    lambda g, s, z: {"tokens": 1, "groups": g, "share": s, "zipf_exponent": z},
    st.integers(1, 9),
    st.floats(0.1, 1),
    st.floats(0, 3),
)
talks = st.none() | st.builds(
    lambda n, t, c, f: {
        "turns": n,
        "think_time_s": t,
        "think_time_cv": c,
        "follow_up_tokens": f,
        "max_input_tokens": 900,
    },
    lengths(6),
    st.floats(0, 20),
    st.floats(0, 3),
    lengths(50),
)


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    """Any traffic."""
    process = draw(arrivals)
    closed = process["process"] == "closed_loop"

    def described() -> dict[str, Any]:
        return {
            "input_tokens": draw(lengths(300)),
            "output_tokens": draw(lengths(100)),
            "shared_prefix": draw(prefixes),
            "conversation": None if closed else draw(talks),
        }

    count = draw(st.integers(0, 3))
    if count == 0:
        return Traffic.model_validate({"arrivals": process} | described())
    classes = [{"name": str(index), "share": 1 / count} | described() for index in range(count)]
    return Traffic.model_validate({"arrivals": process, "classes": classes})


CASES = (traffics(), st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([1, 7, 16]))


@settings(max_examples=20)
@given(*CASES)
def test_any_traffic_is_sound(described: Traffic, seed: int, count: int, block: int) -> None:
    _sound(described, seed, count, block)


@pytest.mark.slow
@settings(max_examples=400)
@given(*CASES)
def test_much_traffic_is_sound(described: Traffic, seed: int, count: int, block: int) -> None:
    _sound(described, seed, count, block)


def _sound(described: Traffic, seed: int, count: int, block: int) -> None:
    drawn = sample(described, count, seed, block)
    assert len(drawn.requests) == count
    _check(drawn, block)
    again = sample(described, count, seed, block)
    assert drawn.requests.arrival_s.tobytes() == again.requests.arrival_s.tobytes()
    assert drawn.requests.block_ids.tobytes() == again.requests.block_ids.tobytes()
    summary = traffic_summary(described, block)
    _check_summary(summary, drawn)


def _check(drawn: Workload, block: int) -> None:
    requests = drawn.requests
    assert np.all(np.isfinite(requests.arrival_s))
    assert np.all(np.diff(requests.arrival_s) >= 0)
    assert requests.arrival_s[0] >= 0
    assert min(requests.input_tokens.min(), requests.output_tokens.min()) >= 1
    assert np.all(np.diff(requests.block_offsets) * block <= requests.input_tokens)
    assert len(requests.block_ids) == requests.block_offsets[-1]
    assert requests.block_ids.min(initial=0) >= 0
    if drawn.think_s is not None:
        assert drawn.think_s.min() >= 0
    if drawn.follows is not None:
        assert np.all(drawn.follows < np.arange(len(requests)))


def _check_summary(summary: TrafficSummary, drawn: Workload) -> None:
    requests = drawn.requests
    assert requests.input_tokens.max() <= summary.max_input_tokens
    assert requests.output_tokens.max() <= summary.max_output_tokens
    assert 1 <= summary.mean_input_tokens <= summary.max_input_tokens
    assert 0 <= summary.mean_shared_prefix_tokens <= summary.mean_input_tokens
    assert summary.second_moment_input_tokens >= summary.mean_input_tokens**2 * (1 - 1e-12)
    assert summary.second_moment_output_tokens >= summary.mean_output_tokens**2 * (1 - 1e-12)
    assert summary.mean_decode_context_tokens >= summary.mean_input_tokens / 2
    if summary.request_rate_per_s is not None:
        assert summary.arrival_scv is not None
        assert summary.arrival_dispersion is not None
        assert min(summary.arrival_scv, summary.arrival_dispersion) > -1e-9
        assert summary.peak_request_rate_per_s is not None
        assert summary.peak_request_rate_per_s >= summary.request_rate_per_s * (1 - 1e-9)
