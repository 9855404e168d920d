"""Turns of conversations with growing context: the exact law of their inputs.

Turn 1 sends a first message; turn t + 1 sends all of turn t's input, its answer and a new message:
I(t+1) = I(t) + O(t) + M(t+1). A conversation ends after its drawn number of turns, or before an input that
would exceed the limit. So w_t(i), the expected number of t-th turns with input i in a conversation, follows
from w_(t-1) by two convolutions, and every moment is a sum over i and t. Convolutions are by FFT in double
precision: the moments are exact to about 1e-12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lengths import LengthLaw

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TurnMoments:
    """Means over the turns of a class; `turns` and its square over its conversations."""

    turns: float
    second_moment_turns: float
    input_tokens: float
    second_moment_input_tokens: float
    max_input_tokens: int
    history_tokens: float
    """Tokens of a turn, in whole blocks, that the turn before had: all but the last token of its answer."""
    first_turns: float
    """Share of turns that are the first of their conversation."""


def single_turn(first: LengthLaw) -> TurnMoments:
    """The moments of requests that are no conversations."""
    return TurnMoments(1.0, 1.0, first.moment(1), first.moment(2), first.longest, 0.0, 1.0)


def turn_moments(
    first: LengthLaw, follow_up: LengthLaw, output: LengthLaw, turns: LengthLaw, limit: int, block_tokens: int
) -> TurnMoments:
    """The moments of turns whose inputs are at most `limit` tokens; turns is 0 when none is."""
    weights = first.up_to(limit)
    sums = np.zeros(3)
    lengths = np.arange(limit + 1, dtype=np.float64)
    blocks = np.maximum(np.arange(limit + 1) - 1, 0) // block_tokens * float(block_tokens)
    opening, square, history, longest = weights.sum(), 0.0, 0.0, 0
    steps = _Steps(follow_up.up_to(limit), output.up_to(limit), limit)
    for turn in range(1, turns.longest + 1):
        if turn > 1:
            stay = turns.at_least(turn) / turns.at_least(turn - 1)
            before, weights = steps.grow(stay * weights)
            history += float(before @ blocks)
        if not weights.sum() > _NEGLIGIBLE:
            break
        sums += weights.sum(), weights @ lengths, weights @ lengths**2
        square += (2 * turn - 1) * weights.sum()
        longest = max(longest, int(np.flatnonzero(weights > _NEGLIGIBLE)[-1]))
    total = float(sums[0]) or 1.0
    return TurnMoments(
        turns=float(sums[0]),
        second_moment_turns=float(square),
        input_tokens=float(sums[1]) / total,
        second_moment_input_tokens=float(sums[2]) / total,
        max_input_tokens=longest,
        history_tokens=history / total,
        first_turns=float(opening) / total,
    )


_NEGLIGIBLE = 1e-15
"""Below this a weight is rounding of the transforms."""


class _Steps:
    """One more turn: transforms of the answer and of the new message, made once."""

    def __init__(self, message: Floats, output: Floats, limit: int) -> None:
        self._size = 1 << (2 * limit + 1).bit_length()
        self._limit = limit
        self._output = np.fft.rfft(output, self._size)
        self._message = np.fft.rfft(message, self._size)
        # Chance that a message still fits behind a history of h tokens.
        self._fits = np.cumsum(message)[::-1]

    def grow(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weights of the histories that a next turn continues, and of its inputs, shapes (limit + 1,)."""
        answered = self._convolved(weights, self._output)
        return answered * self._fits, self._convolved(answered, self._message)

    def _convolved(self, weights: Floats, other: NDArray[np.complex128]) -> Floats:
        full = np.fft.irfft(np.fft.rfft(weights, self._size) * other, self._size)
        return np.asarray(np.maximum(full[: self._limit + 1], 0), np.float64)
