"""A learned correction of a law: a polynomial in the logarithms of its sizes, valid where it was trained.

The corrected time is law × exp(w · P(u)), with u the standardised logarithms of the sizes clipped to the
training range, P bounded by the largest residual that training saw, and w a weight that is 1 inside that
range and falls to 0 within a factor of two outside it: further out the law stands alone. It is an expression
like the law itself, which the step laws of the simulator carry; formulas of the solver leave it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sympy import Add, Expr, Float, Max, Min, Mul, exp, log, sqrt, sympify

from llmopt_calibration.laws import Number

REACH = 2.0
"""Factor outside the training range at which the correction is gone."""


@dataclass(frozen=True, slots=True)
class Residual:
    """A correction as data."""

    ranges: Mapping[str, tuple[float, float]]
    """Smallest and largest trained value of every shape symbol of the law."""
    variables: tuple[str, ...]
    """The sizes that the polynomial reads."""
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    terms: tuple[tuple[tuple[int, ...], float], ...]
    """Exponents of the variables, and the coefficient."""
    limit: float
    """Largest logarithm of the correction, up or down."""
    held_out_mape: float
    """Error of law and correction together on shapes that neither was fitted to."""

    def factor(self, shape: Mapping[str, Number]) -> Expr:
        """What the law's time at `shape` (numbers or expressions, by name) is multiplied by."""
        sizes = {name: sympify(shape[name]) for name in self.ranges}
        coordinates = {
            name: (log(_clipped(sizes[name], *self.ranges[name])) - centre) / scale
            for name, centre, scale in zip(self.variables, self.centres, self.scales, strict=True)
        }
        polynomial = Add(
            *(
                Float(coefficient)
                * Mul(*(coordinates[name] ** power for name, power in _powers(self, powers)))
                for powers, coefficient in self.terms
            )
        )
        # Bounded by a root, not by Max and Min, whose arguments SymPy compares whenever it rebuilds them.
        bounded = polynomial / sqrt(1 + (polynomial / self.limit) ** 2)
        return exp(self._weight(sizes) * bounded)

    def _weight(self, sizes: Mapping[str, Expr]) -> Expr:
        """1 inside the training range, 0 from `REACH` times it on, in between linear in the logarithms."""
        return Mul(*(1 - _outside(sizes[name], bounds) / log(REACH) for name, bounds in self.ranges.items()))


def _powers(residual: Residual, powers: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """The variables of a term with their exponents."""
    return ((name, power) for name, power in zip(residual.variables, powers, strict=True) if power)


def _clipped(size: Expr, low: float, high: float) -> Expr:
    return Min(Max(size, low), high)


def _outside(size: Expr, bounds: tuple[float, float]) -> Expr:
    """Logarithm of the factor by which a size leaves its bounds, at most that of `REACH`."""
    low, high = bounds
    near = _clipped(size, low / REACH, high * REACH)
    return log(low / Min(near, low)) + log(Max(near, high) / high)


def residual_entry(residual: Residual) -> dict[str, Any]:
    """The correction for a data file."""
    return {
        "ranges": {name: list(bounds) for name, bounds in residual.ranges.items()},
        "variables": list(residual.variables),
        "centres": list(residual.centres),
        "scales": list(residual.scales),
        "terms": [[list(powers), coefficient] for powers, coefficient in residual.terms],
        "limit": residual.limit,
        "held_out_mape": residual.held_out_mape,
    }


def parse_residual(entry: Mapping[str, Any]) -> Residual:
    """The correction in a data file; `KeyError`, `TypeError` or `ValueError` where it is malformed."""
    residual = Residual(
        ranges={str(name): (float(low), float(high)) for name, (low, high) in entry["ranges"].items()},
        variables=tuple(map(str, entry["variables"])),
        centres=tuple(map(float, entry["centres"])),
        scales=tuple(map(float, entry["scales"])),
        terms=tuple((tuple(map(int, powers)), float(number)) for powers, number in entry["terms"]),
        limit=float(entry["limit"]),
        held_out_mape=float(entry["held_out_mape"]),
    )
    count = len(residual.variables)
    widths = {
        count,
        len(residual.centres),
        len(residual.scales),
        *(len(powers) for powers, _ in residual.terms),
    }
    if widths != {count} or not set(residual.variables) <= set(residual.ranges):
        raise ValueError("the residual's variables, centres, scales and exponents do not belong together")
    return residual
