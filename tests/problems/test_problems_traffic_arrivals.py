"""Arrival processes: drawn times against their laws, moments against closed forms and other methods."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy import integrate, stats

from llmopt_problems.schema import Traffic
from llmopt_problems.schema.arrivals import Arrivals
from llmopt_problems.traffic import sample, traffic_summary
from llmopt_problems.traffic.curves import curve_of, expected, gap_scv, mean_rate, times_of
from llmopt_problems.traffic.processes import arrival_times, rate_per_s, variability, weibull_shape

_ARRIVALS: TypeAdapter[Any] = TypeAdapter(Arrivals)
COUNT = 40_000
CONSTANT = {"distribution": "constant", "value": 50}
POINTS = [
    {"at": "0 s", "rate": "1 req/s"},
    {"at": "40 s", "rate": "9 req/s"},
    {"at": "70 s", "rate": "2 req/s"},
]
PROCESSES: list[dict[str, Any]] = [
    {"process": "poisson", "rate": "5 req/s"},
    {"process": "gamma", "rate": "5 req/s", "cv": 2.0},
    {"process": "weibull", "rate": "5 req/s", "cv": 1.7},
    {"process": "deterministic", "rate": "5 req/s"},
    {"process": "on_off", "rate": "5 req/s", "burst": "2 s", "silence": "6 s"},
    {"process": "batch", "rate": "5 req/s", "size": {"distribution": "uniform", "min": 1, "max": 9}},
    {"process": "day_curve", "period": "100 s", "points": POINTS},
    {"process": "sinusoid", "rate": "5 req/s", "swing": 0.8, "period": "60 s", "peak": "13 s"},
]
NAMES = [each["process"] for each in PROCESSES]


def process(data: dict[str, Any]) -> Any:
    """The arrivals section."""
    return _ARRIVALS.validate_python(data)


def times(data: dict[str, Any], seed: int = 3, count: int = COUNT) -> NDArray[np.float64]:
    """Arrival times of a process."""
    return arrival_times(process(data), count, np.random.default_rng(seed))


@cache
def shared_times(name: str, seed: int) -> NDArray[np.float64]:
    """Arrival times of one of `PROCESSES`, drawn once."""
    return times(PROCESSES[NAMES.index(name)], seed)


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_rate_is_the_described_one(name: str) -> None:
    drawn, section = shared_times(name, 3), process(PROCESSES[NAMES.index(name)])
    assert np.all(np.diff(drawn) >= 0)
    assert drawn[0] >= 0
    # The number of arrivals in a long time has variance dispersion · mean.
    error = math.sqrt(max(variability(section).dispersion, 1e-6) / COUNT)
    assert COUNT / drawn[-1] == pytest.approx(rate_per_s(section), rel=4.5 * error + 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_scv_of_the_gaps_is_the_described_one(name: str) -> None:
    parts = [np.diff(shared_times(name, seed)) for seed in range(8)]
    found = [gaps.var() / gaps.mean() ** 2 for gaps in parts]
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    described = variability(process(PROCESSES[NAMES.index(name)])).gap_scv
    assert np.mean(found) == pytest.approx(described, abs=5 * error + 2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_counts_in_long_windows_have_the_described_dispersion(name: str) -> None:
    section = process(PROCESSES[NAMES.index(name)])
    window = getattr(section, "period_s", 40.0)
    parts = [shared_times(name, seed) for seed in range(8)]
    counts = [np.histogram(drawn, np.arange(0, drawn[-1], window))[0] for drawn in parts]
    found = np.concatenate(counts)
    # A variance of n counts is uncertain by √(2/n); windows are finite, which is worth a few per cent.
    error = 4 * math.sqrt(2 / len(found)) + 0.03
    described = variability(section).dispersion
    assert found.var() / found.mean() == pytest.approx(described, rel=error, abs=0.01)


@pytest.mark.parametrize("cv", [0.05, 0.5, 1.0, 1.7, 6.0])
def test_weibull_gaps_have_their_cv(cv: float) -> None:
    law = stats.weibull_min(weibull_shape(cv))
    assert law.std() / law.mean() == pytest.approx(cv, rel=1e-6)
    gaps = np.diff(times({"process": "weibull", "rate": "5 req/s", "cv": cv}), prepend=0.0)
    scaled = stats.weibull_min(weibull_shape(cv), scale=0.2 / law.mean())
    assert stats.kstest(gaps, scaled.cdf).pvalue > 1e-3


def _interrupted(rate: float, burst: float, silence: float, horizon: float) -> NDArray[np.float64]:
    """An on-off process by its definition: alternating exponential times, Poisson arrivals in the bursts."""
    rng = np.random.default_rng(7)
    cycles = math.ceil(horizon / (burst + silence))
    lasts = np.stack([rng.exponential(burst, cycles), rng.exponential(silence, cycles)], axis=1)
    begins = np.cumsum(lasts.sum(axis=1)) - lasts.sum(axis=1)
    counts = rng.poisson(rate * (burst + silence) / burst * lasts[:, 0])
    inside = rng.random(counts.sum()) * np.repeat(lasts[:, 0], counts)
    return np.sort(np.repeat(begins, counts) + inside)


def test_on_off_gaps_are_those_of_bursts_and_silences() -> None:
    data = {"process": "on_off", "rate": "5 req/s", "burst": "2 s", "silence": "6 s"}
    by_definition = np.diff(_interrupted(5.0, 2.0, 6.0, 16_000.0))
    assert stats.ks_2samp(np.diff(times(data)), by_definition).pvalue > 1e-3
    # 1 + 2·λ·off-rate/(on-rate + off-rate)², λ the rate in a burst.
    assert variability(process(data)).gap_scv == pytest.approx(1 + 2 * 20 * 0.5 / (0.5 + 1 / 6) ** 2)
    assert variability(process(data)).peak_rate_per_s == pytest.approx(20.0)


def test_batches_come_at_once() -> None:
    data = {"process": "batch", "rate": "5 req/s", "size": {"distribution": "constant", "value": 4}}
    drawn = times(data, count=4002)
    _, sizes = np.unique(drawn, return_counts=True)
    assert np.all(sizes[:-1] == 4)
    assert sizes[-1] == 2
    gaps = np.diff(np.unique(drawn), prepend=0.0)
    assert stats.kstest(gaps, stats.expon(scale=0.8).cdf).pvalue > 1e-3
    assert variability(process(data)).dispersion == 4.0
    assert variability(process(data)).gap_scv == 7.0


def _rate(data: dict[str, Any], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rate of the curves of this file, written down once more."""
    if data["process"] == "sinusoid":
        return np.asarray(5 * (1 + 0.8 * np.cos(2 * np.pi * (time_s - 13) / 60)))
    return np.interp(time_s % 100, [0, 40, 70, 100], [1, 9, 2, 1])


@pytest.mark.parametrize("data", PROCESSES[6:], ids=NAMES[6:])
def test_curves_integrate_their_rate_and_invert_it(data: dict[str, Any]) -> None:
    curve = curve_of(process(data))
    where = np.array([-130.0, -1.0, 0.0, 3.0, 39.0, 41.0, 69.0, 99.0, 100.0, 260.0])
    for time_s, value in zip(where, expected(curve, where), strict=True):
        kinks = [k for k in np.arange(-200, 300, 10.0) if min(0, time_s) < k < max(0, time_s)]
        area, _ = integrate.quad(
            lambda t: float(_rate(data, np.array(t))), 0, time_s, points=kinks or None, limit=200
        )
        assert value == pytest.approx(area, abs=1e-8)
    np.testing.assert_allclose(times_of(curve, expected(curve, where)), where, atol=1e-9)
    assert mean_rate(curve) * curve.period_s == pytest.approx(
        float(expected(curve, np.array([curve.period_s]))[0])
    )


@pytest.mark.parametrize("data", PROCESSES[6:], ids=NAMES[6:])
def test_a_curve_seen_through_its_integral_is_a_unit_poisson_process(data: dict[str, Any]) -> None:
    drawn = times(data)
    thinned = np.diff(expected(curve_of(process(data)), drawn), prepend=0.0)
    assert stats.kstest(thinned, stats.expon.cdf).pvalue > 1e-3
    phase = drawn % process(data).period_s
    grid = np.linspace(0, process(data).period_s, 21)
    counts = np.histogram(phase[drawn < drawn[-1] // grid[-1] * grid[-1]], grid)[0]
    shares = np.diff(expected(curve_of(process(data)), grid))
    assert stats.chisquare(counts, shares / shares.sum() * counts.sum()).pvalue > 1e-3


@pytest.mark.parametrize("data", PROCESSES[6:], ids=NAMES[6:])
def test_the_start_of_a_curve_may_be_chosen(data: dict[str, Any]) -> None:
    late = times(data | {"start": "30 s"}, count=4000)
    first = [
        arrival_times(process(data | {"start": "30 s"}), 1, np.random.default_rng(s))[0] for s in range(400)
    ]
    assert late[0] >= 0
    survival = expected(curve_of(process(data)), 30 + np.array(first)) - expected(
        curve_of(process(data)), np.array([30.0])
    )
    assert stats.kstest(survival, stats.expon.cdf).pvalue > 1e-3


def test_the_gaps_of_a_flat_curve_are_exponential() -> None:
    flat = process({"process": "day_curve", "points": [{"at": "3 h", "rate": "7 req/s"}]})
    assert rate_per_s(flat) == pytest.approx(7.0)
    assert gap_scv(curve_of(flat)) == pytest.approx(1.0, abs=1e-9)
    assert gap_scv(curve_of(flat), thinning=1e-4) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("data", PROCESSES[6:], ids=NAMES[6:])
def test_the_scv_of_a_curve_has_the_stated_error_and_limits(data: dict[str, Any]) -> None:
    curve = curve_of(process(data))
    assert gap_scv(curve) == pytest.approx(gap_scv(curve, cells=2**17), rel=1e-4)
    # So slow that the rate is constant over a gap: a mixture of exponentials, weighted by the rate.
    grid = np.linspace(0, curve.period_s, 200_001)
    slow = 2 * mean_rate(curve) * float(np.mean(1 / _rate(data, grid))) - 1
    assert gap_scv(curve, thinning=300.0) == pytest.approx(slow, rel=2e-3)
    # So fast that many periods pass within a gap.
    assert gap_scv(curve, thinning=1e-3) == pytest.approx(1.0, abs=1e-2)


def test_a_curve_with_silent_hours_has_long_gaps() -> None:
    office = process(
        {
            "process": "day_curve",
            "period": "10 s",
            "points": [
                {"at": "0 s", "rate": "0 req/s"},
                {"at": "4 s", "rate": "0 req/s"},
                {"at": "5 s", "rate": "2 req/s"},
            ],
        }
    )
    drawn = arrival_times(office, COUNT, np.random.default_rng(1))
    assert np.all(drawn % 10 >= 4)
    gaps = np.diff(drawn)
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(gap_scv(curve_of(office)), rel=0.03)


@pytest.mark.parametrize("data", PROCESSES, ids=NAMES)
def test_sampling_is_deterministic_and_longer_draws_begin_as_shorter_ones(data: dict[str, Any]) -> None:
    described = Traffic.model_validate(
        {"arrivals": data, "input_tokens": CONSTANT, "output_tokens": CONSTANT}
    )
    first, again = (sample(described, 300, 5).requests.arrival_s for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert sample(described, 600, 5).requests.arrival_s[:300].tobytes() == first.tobytes()
    if data["process"] != "deterministic":
        assert sample(described, 300, 6).requests.arrival_s.tobytes() != first.tobytes()
    summary = traffic_summary(described)
    assert summary.request_rate_per_s == pytest.approx(rate_per_s(described.arrivals))
    assert summary.arrival_scv == variability(described.arrivals).gap_scv  # type: ignore[arg-type]


@pytest.mark.parametrize(("cv", "law"), [(1.0, stats.expon(scale=8)), (0.5, stats.gamma(4, scale=2))])
def test_users_of_a_closed_loop_think(cv: float, law: Any) -> None:
    loop = {"process": "closed_loop", "concurrency": 5, "think_time": "8 s", "think_time_cv": cv}
    described = Traffic.model_validate(
        {"arrivals": loop, "input_tokens": CONSTANT, "output_tokens": CONSTANT}
    )
    drawn = sample(described, 5000, 1)
    assert drawn.think_s is not None
    assert not drawn.think_s[:5].any()
    assert stats.kstest(drawn.think_s[5:], law.cdf).pvalue > 1e-3
    assert drawn.follows is None
    assert traffic_summary(described).mean_think_s == 8.0


def test_a_constant_think_time_is_constant_and_none_is_none() -> None:
    loop = {"process": "closed_loop", "concurrency": 5, "think_time_ms": 300, "think_time_cv": 0.0}
    lengths = {"input_tokens": CONSTANT, "output_tokens": CONSTANT}
    drawn = sample(Traffic.model_validate({"arrivals": loop} | lengths), 50, 1)
    assert drawn.think_s is not None
    assert set(drawn.think_s[5:].tolist()) == {0.3}
    still = {"process": "closed_loop", "concurrency": 5}
    assert sample(Traffic.model_validate({"arrivals": still} | lengths), 50, 1).think_s is None
