"""Arrival processes: times drawn from one, and the moments of its gaps.

`arrival_times` draws the process as described; `Variability` says what queueing formulas need of it. Every
rate may be multiplied by a `thinning`, which leaves the durations of bursts and curves alone: conversations
start at the request rate divided by their mean turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ..schema.traffic import (
    BatchArrivals,
    DayCurveArrivals,
    DeterministicArrivals,
    GammaArrivals,
    OnOffArrivals,
    OpenArrivals,
    PoissonArrivals,
    SinusoidArrivals,
    WeibullArrivals,
)
from .curves import curve_of, expected, gap_scv, mean_rate, times_of
from .lengths import length_law

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Variability:
    """How uneven arrivals are; all three are 1 or the mean rate for Poisson."""

    gap_scv: float
    """Variance / mean² of the gaps."""
    dispersion: float
    """Variance / mean of the number of arrivals in a long time; gap_scv where gaps are independent."""
    peak_rate_per_s: float
    """Highest expected rate at any time; the rate in a burst for on-off arrivals."""


def rate_per_s(arrivals: OpenArrivals) -> float:
    """Mean arrival rate."""
    if isinstance(arrivals, DayCurveArrivals | SinusoidArrivals):
        return mean_rate(curve_of(arrivals))
    return arrivals.rate_per_s


def arrival_times(
    arrivals: OpenArrivals, count: int, rng: np.random.Generator, thinning: float = 1.0, begin_s: float = 0.0
) -> Floats:
    """`count` arrival times after `begin_s`, shape (count,), non-decreasing; more of them begin the same."""
    if isinstance(arrivals, DayCurveArrivals | SinusoidArrivals):
        curve = curve_of(arrivals)
        at_s = arrivals.start_s + begin_s
        unit = np.cumsum(rng.exponential(1 / thinning, count)) + expected(curve, np.array([at_s]))
        return np.maximum(times_of(curve, unit) - arrivals.start_s, begin_s)
    if isinstance(arrivals, BatchArrivals):
        return begin_s + _batches(arrivals, count, rng, thinning)
    return begin_s + np.cumsum(_gaps(arrivals, count, rng, thinning * arrivals.rate_per_s))


def variability(arrivals: OpenArrivals, thinning: float = 1.0) -> Variability:
    """The moments of a process, in closed form; those of a curve as `curves.gap_scv` says."""
    if isinstance(arrivals, DayCurveArrivals | SinusoidArrivals):
        curve = curve_of(arrivals)
        return Variability(gap_scv(curve, thinning), 1.0, thinning * curve.peak_per_s)
    rate = thinning * arrivals.rate_per_s
    if isinstance(arrivals, BatchArrivals):
        size = length_law(arrivals.size)
        # One gap in E[B] is exponential, the others are zero; counts are a compound Poisson process.
        return Variability(2 * size.moment(1) - 1, size.moment(2) / size.moment(1), rate)
    scv = _renewal_scv(arrivals, rate)
    peak = rate / _on_share(arrivals) if isinstance(arrivals, OnOffArrivals) else rate
    return Variability(scv, scv, peak)


Renewal = PoissonArrivals | GammaArrivals | WeibullArrivals | DeterministicArrivals | OnOffArrivals
"""Processes with independent gaps."""


def _gaps(arrivals: Renewal, count: int, rng: np.random.Generator, rate: float) -> Floats:
    match arrivals:
        case PoissonArrivals():
            return rng.exponential(1 / rate, count)
        case GammaArrivals():
            # Gamma of shape k has cv = 1/√k.
            shape = arrivals.cv**-2
            return rng.gamma(shape, 1 / (shape * rate), count)
        case WeibullArrivals():
            shape = weibull_shape(arrivals.cv)
            return rng.weibull(shape, count) / (rate * math.gamma(1 + 1 / shape))
        case DeterministicArrivals():
            return np.full(count, 1 / rate)
        case OnOffArrivals():
            fast, slow, share = _hyperexponential(arrivals, rate)
            pick, scale = rng.spawn(2)
            means = np.where(pick.random(count) < share, 1 / fast, 1 / slow)
            return means * scale.standard_exponential(count)
        case _:
            assert_never(arrivals)


def _renewal_scv(arrivals: Renewal, rate: float) -> float:
    match arrivals:
        case PoissonArrivals():
            return 1.0
        case GammaArrivals() | WeibullArrivals():
            return arrivals.cv**2
        case DeterministicArrivals():
            return 0.0
        case OnOffArrivals():
            fast, slow, share = _hyperexponential(arrivals, rate)
            return 2 * rate**2 * (share / fast**2 + (1 - share) / slow**2) - 1
        case _:
            assert_never(arrivals)


def weibull_shape(cv: float) -> float:
    """The shape k with Γ(1 + 2/k) / Γ(1 + 1/k)² = 1 + cv², by bisection."""
    low, high = 0.05, 1e4
    for _ in range(200):
        shape = math.sqrt(low * high)
        squared = math.expm1(math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape))
        low, high = (shape, high) if squared > cv**2 else (low, shape)
    return math.sqrt(low * high)


def _on_share(arrivals: OnOffArrivals) -> float:
    return arrivals.burst_s / (arrivals.burst_s + arrivals.silence_s)


def _hyperexponential(arrivals: OnOffArrivals, rate: float) -> tuple[float, float, float]:
    """Rates of the two exponentials whose mixture the gaps are, and the share of the first.

    An interrupted Poisson process is a renewal process with hyperexponential gaps: Kuczura, The interrupted
    Poisson process as an overflow process, Bell System Technical Journal 52 (1973), equation 6.
    """
    on_rate, leave, enter = rate / _on_share(arrivals), 1 / arrivals.burst_s, 1 / arrivals.silence_s
    # (on_rate + leave + enter)² - 4·on_rate·enter as a sum of squares; the roots' product is on_rate·enter.
    root = math.sqrt((on_rate - enter) ** 2 + leave**2 + 2 * leave * (on_rate + enter))
    fast = (on_rate + leave + enter + root) / 2
    slow = on_rate * enter / fast
    return fast, slow, (on_rate - slow) / root


def _batches(arrivals: BatchArrivals, count: int, rng: np.random.Generator, thinning: float) -> Floats:
    size = length_law(arrivals.size)
    when, many = rng.spawn(2)
    times = np.cumsum(when.exponential(size.moment(1) / (thinning * arrivals.rate_per_s), count))
    sizes = np.minimum(size.draw(many, count), count)
    needed = int(np.searchsorted(np.cumsum(sizes), count)) + 1
    return np.repeat(times[:needed], sizes[:needed])[:count]
