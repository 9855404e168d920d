"""Decode attention of one batch as polynomials over short stretches of its context.

Between two events the batch stays and its context grows, so a run asks for one smooth function of the context
thousands of times, and each answer of its tape costs three powers. Over a stretch of an eighth of an octave
the law is a polynomial of degree nine to the last digit: its nearest singularity lies about one context away,
ten half-widths or more, so Chebyshev coefficients fall by a factor of twenty each. The last two are looked
at, and where they are not negligible the tape itself answers.

A polynomial is made when it is first asked for and kept in the caller's scratch. It depends on batch and
stretch alone, so an answer does not depend on what was asked before, nor on what has been forgotten.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.polynomial.chebyshev import cheb2poly
from numpy.typing import NDArray

from llmopt_calibration.tape import TapeArrays, evaluate_tape

TERMS: Final = 10
"""Coefficients of a polynomial."""
NEGLIGIBLE: Final = 1e-13
"""Largest sum of the last two Chebyshev coefficients, as a share of the first."""

_ROWS: Final = 2048
_ROWS_A_BATCH: Final = 37  # so that the stretches of neighbouring batches rarely meet
_PLACE_BITS: Final = 49  # low bits of a float: its place in the stretch; the others name the stretch
_PLACES: Final = (1 << _PLACE_BITS) - 1
_FIRST: Final = 1023 << 3  # the stretch that begins at 1
_ANGLES: Final = (np.arange(TERMS) + 0.5) * np.pi / TERMS
_POINTS: Final = np.cos(_ANGLES)
_TO_CHEBYSHEV: Final = (
    np.cos(np.outer(np.arange(TERMS), _ANGLES)) * np.where(np.arange(TERMS), 2.0, 1.0)[:, None] / TERMS
)
_TO_POWERS: Final = np.stack([np.resize([*cheb2poly(row), *np.zeros(TERMS)], TERMS) for row in np.eye(TERMS)])


class Scratch(NamedTuple):
    """Where one thread evaluates one step law."""

    slots: NDArray[np.float64]
    """Of the tape that is being evaluated."""
    names: NDArray[np.int64]
    """Shape (rows,): batch and stretch of each row of `powers`; 0: none."""
    powers: Annotated[NDArray[np.float64], 2]
    """Shape (rows, TERMS): coefficients of the powers of the place in the stretch, which is from -1 to 1."""
    samples: NDArray[np.float64]
    """Shape (TERMS,): values at the Chebyshev points, while a polynomial is made."""


def new_scratch(slots: int, *, curves: bool) -> Scratch:
    """A scratch for tapes of at most `slots` slots, with room for polynomials if there are `curves`."""
    rows = _ROWS if curves else 0
    return Scratch(np.zeros(slots), np.zeros(rows, np.int64), np.zeros((rows, TERMS)), np.zeros(TERMS))


@njit(cache=True, _nrt=False)
def on_curve(tape: TapeArrays, work: Scratch, b: int, K: float) -> float:
    """The first output of `tape`, smooth in its second input, at b and K ≥ 1; NaN where it must be asked."""
    bits = np.float64(K).view(np.int64)
    stretch = bits >> _PLACE_BITS
    row = (b * _ROWS_A_BATCH + stretch) & (_ROWS - 1)
    if work.names[row] != (b << 14) + stretch:
        _make(tape, work, row, b, stretch)
    x = (bits & _PLACES) * 2.0 ** (1 - _PLACE_BITS) - 1.0
    c, y = work.powers, x * x
    even = c[row, 0] + y * (c[row, 2] + y * (c[row, 4] + y * (c[row, 6] + y * c[row, 8])))
    odd = c[row, 1] + y * (c[row, 3] + y * (c[row, 5] + y * (c[row, 7] + y * c[row, 9])))
    return even + x * odd


@njit(cache=True, _nrt=False)
def _make(tape: TapeArrays, work: Scratch, row: int, b: int, stretch: int) -> None:
    """Fill a row with the polynomial of batch `b` over a stretch, with NaN where it would not be exact."""
    low = np.int64(stretch << _PLACE_BITS).view(np.float64)
    half = 0.5 * (np.int64((stretch + 1) << _PLACE_BITS).view(np.float64) - low)
    for j in range(TERMS):
        work.slots[0] = b
        work.slots[1] = low + half * (1.0 + _POINTS[j])
        evaluate_tape(tape, work.slots)
        work.samples[j] = work.slots[tape.outputs[0]]
    _fill(work, row, 0.0)
    first = tail = 0.0
    for k in range(TERMS):
        coefficient = 0.0
        for j in range(TERMS):
            coefficient += _TO_CHEBYSHEV[k, j] * work.samples[j]
        first = coefficient if k == 0 else first
        tail += abs(coefficient) if k >= TERMS - 2 else 0.0
        for i in range(k + 1):
            work.powers[row, i] += coefficient * _TO_POWERS[k, i]
    if not tail <= NEGLIGIBLE * abs(first):
        _fill(work, row, np.nan)
    work.names[row] = (b << 14) + stretch


@njit(cache=True, _nrt=False)
def _fill(work: Scratch, row: int, value: float) -> None:
    for i in range(TERMS):
        work.powers[row, i] = value
