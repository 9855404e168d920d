"""Rates that follow a curve: a periodic rate λ(t), its integral Λ(t), and the inverse of that.

A Poisson process of rate λ(t) is one of rate 1 seen through Λ: its k-th arrival is Λ⁻¹(k-th arrival of the
unit process). So only Λ is needed, for drawing (inversion, exact to rounding) and for moments of the gaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..schema.traffic import DayCurveArrivals, SinusoidArrivals

Floats = NDArray[np.float64]

_STEPS = 100
_ROUNDING = 32 * np.finfo(np.float64).eps
_CELLS = 2**15
"""Steps that stand for a curve in the moments of the gaps; the error falls with their square."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearCurve:
    """Straight lines between `times_s`, from 0 to the period; the last rate is the first."""

    times_s: Floats
    rates_per_s: Floats

    @property
    def period_s(self) -> float:
        """Seconds until the curve repeats."""
        return float(self.times_s[-1])

    @property
    def peak_per_s(self) -> float:
        """Highest rate."""
        return float(self.rates_per_s.max())

    def rate(self, time_s: Floats) -> Floats:
        """Rate at times of one period."""
        return np.interp(time_s, self.times_s, self.rates_per_s)

    def within(self, time_s: Floats) -> Floats:
        """Expected arrivals from 0 to times of one period."""
        sums = np.diff(self.times_s) * (self.rates_per_s[1:] + self.rates_per_s[:-1]) / 2
        index = np.clip(np.searchsorted(self.times_s, time_s, side="right") - 1, 0, len(sums) - 1)
        start, width = self.times_s[index], np.diff(self.times_s)[index]
        past, rise = time_s - start, np.diff(self.rates_per_s)[index]
        before = np.concatenate(([0.0], np.cumsum(sums)))[index]
        return np.asarray(before + past * (self.rates_per_s[index] + rise * past / width / 2), np.float64)


@dataclass(frozen=True, slots=True)
class SineCurve:
    """mean · (1 + swing · cos(2π · (t - peak) / period))."""

    mean_per_s: float
    swing: float
    period_s: float
    peak_s: float

    @property
    def peak_per_s(self) -> float:
        """Highest rate."""
        return self.mean_per_s * (1 + self.swing)

    def rate(self, time_s: Floats) -> Floats:
        """Rate at times of one period."""
        phase = 2 * math.pi * (time_s - self.peak_s) / self.period_s
        return np.asarray(self.mean_per_s * (1 + self.swing * np.cos(phase)), np.float64)

    def within(self, time_s: Floats) -> Floats:
        """Expected arrivals from 0 to times of one period."""
        turn = 2 * math.pi / self.period_s
        waves = np.sin(turn * (time_s - self.peak_s)) + math.sin(turn * self.peak_s)
        return np.asarray(self.mean_per_s * (time_s + self.swing * waves / turn), np.float64)


Curve = LinearCurve | SineCurve


def curve_of(arrivals: DayCurveArrivals | SinusoidArrivals) -> Curve:
    """The curve that a section of the schema describes."""
    if isinstance(arrivals, SinusoidArrivals):
        return SineCurve(arrivals.rate_per_s, arrivals.swing, arrivals.period_s, arrivals.peak_s)
    times = np.array([point.at_s for point in arrivals.points])
    rates = np.array([point.rate_per_s for point in arrivals.points])
    # The line from the last point to the first of the next period crosses the period's end at this rate.
    seam = np.interp(arrivals.period_s, [times[-1], times[0] + arrivals.period_s], [rates[-1], rates[0]])
    ends = [0.0] if times[0] > 0 else []
    return LinearCurve(
        np.concatenate((ends, times, [arrivals.period_s])),
        np.concatenate(([seam] * len(ends), rates, [seam])),
    )


def mean_rate(curve: Curve) -> float:
    """Arrivals a second over whole periods."""
    return float(curve.within(np.array([curve.period_s]))[0]) / curve.period_s


def expected(curve: Curve, time_s: Floats) -> Floats:
    """Λ: expected arrivals from 0 to any times, negative ones included."""
    periods = np.floor(time_s / curve.period_s)
    return periods * mean_rate(curve) * curve.period_s + curve.within(time_s - periods * curve.period_s)


def times_of(curve: Curve, arrivals: Floats) -> Floats:
    """Λ⁻¹: the times until which so many arrivals are expected.

    Within a period by Newton's method, kept inside a bracket that halves where Newton would leave it, until
    every Λ is right to rounding.
    """
    a_period = mean_rate(curve) * curve.period_s
    periods = np.floor(arrivals / a_period)
    rest = arrivals - periods * a_period
    low, high = np.zeros_like(rest), np.full_like(rest, curve.period_s)
    guess = curve.period_s * rest / a_period
    for _ in range(_STEPS):
        error = curve.within(guess) - rest
        low, high = np.where(error < 0, guess, low), np.where(error < 0, high, guess)
        open_ = np.abs(error) > _ROUNDING * a_period
        if not open_.any():
            break
        newton = guess - error / np.maximum(curve.rate(guess), _ROUNDING * curve.peak_per_s)
        inside = (newton > low) & (newton < high)
        guess = np.where(open_, np.where(inside, newton, (low + high) / 2), guess)
    return np.asarray(periods * curve.period_s + guess, np.float64)


def gap_scv(curve: Curve, thinning: float = 1.0, cells: int = _CELLS) -> float:
    """Squared coefficient of variation of the gaps, with every rate multiplied by `thinning`.

    With M(t) the mean time from t to the next arrival, E[gap] = 1/λ̄ and E[gap²] = 2·M̄/λ̄ (the inversion
    formula of Palm), so scv = 2·λ̄·M̄ - 1, M̄ the mean of M over a period. M' = λ·M - 1 is solved exactly for
    the curve cut into `cells` steps of its own means; that error is below 1e-4 of the value for curves
    without jumps, and falls with the square of the number of cells.
    """
    width = curve.period_s / cells
    loads = np.diff(thinning * curve.within(np.linspace(0, curve.period_s, cells + 1)))
    survive = np.exp(-loads)
    # Mean wait from a cell's start, and its integral over the cell, both as a + b · (wait at its end).
    wait = width * _decay(loads)
    area, carried = width**2 * _decay_area(loads), width * _decay(loads)
    after, total = _periodic_end(wait, loads), 0.0
    for index in range(cells - 1, -1, -1):
        total += area[index] + carried[index] * after
        after = wait[index] + survive[index] * after
    return 2 * thinning * mean_rate(curve) * total / curve.period_s - 1


def _periodic_end(wait: Floats, loads: Floats) -> float:
    """The mean wait at the period's end, which is that at its start."""
    before = np.cumsum(loads) - loads
    return float((np.exp(-before) * wait).sum() / -math.expm1(-float(loads.sum())))


def _decay(load: Floats) -> Floats:
    """(1 - e^-x) / x."""
    return np.asarray(np.where(load > 0, -np.expm1(-load) / np.where(load > 0, load, 1), 1.0), np.float64)


def _decay_area(load: Floats) -> Floats:
    """(x - 1 + e^-x) / x², by its series where x is small."""
    small = load < 1e-3
    safe = np.where(small, 1, load)
    series = 0.5 - load / 6 + load**2 / 24
    return np.asarray(np.where(small, series, (load + np.expm1(-load)) / safe**2), np.float64)
