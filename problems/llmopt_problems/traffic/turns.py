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
    steps = _Steps(follow_up.up_to(limit), output.up_to(limit), limit)
    weights = first.up_to(limit)
    inputs, histories, shares = np.zeros(limit + 1), np.zeros(limit + 1), []
    for turn in range(1, turns.longest + 1):
        if turn > 1:
            before, weights = steps.grow(weights * (turns.at_least(turn) / turns.at_least(turn - 1)))
            histories += before
        shares.append(float(weights.sum()))
        if not shares[-1] > _NEGLIGIBLE:
            break
        inputs += weights
    return _moments(inputs, histories, shares, block_tokens)


def _moments(inputs: Floats, histories: Floats, shares: list[float], block_tokens: int) -> TurnMoments:
    """From the expected number of turns with every input, with every history, and of t-th turns."""
    lengths = np.arange(len(inputs), dtype=np.float64)
    blocks = np.maximum(lengths - 1, 0) // block_tokens * block_tokens
    turns = float(inputs.sum())
    some = turns or 1.0
    return TurnMoments(
        turns=turns,
        second_moment_turns=sum((2 * turn - 1) * share for turn, share in enumerate(shares, 1)),
        input_tokens=float((inputs * lengths).sum()) / some,
        second_moment_input_tokens=float((inputs * lengths**2).sum()) / some,
        max_input_tokens=int(np.flatnonzero(inputs > _NEGLIGIBLE)[-1]) if turns else 0,
        history_tokens=float((histories * blocks).sum()) / some,
        first_turns=shares[0] / some,
    )


_NEGLIGIBLE = 1e-15
"""Below this a weight is rounding of the transforms."""


class _Steps:
    """One more turn: transforms of the answer, and of answer and new message together, made once."""

    def __init__(self, message: Floats, output: Floats, limit: int) -> None:
        self._size = _smooth(2 * limit + 1)
        self._limit = limit
        self._output = np.fft.rfft(output, self._size)
        both = self._inverse(self._output * np.fft.rfft(message, self._size))
        self._both = np.fft.rfft(both, self._size)
        # Chance that a message still fits behind a history of h tokens.
        self._fits = np.cumsum(message)[::-1]

    def grow(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weights of the histories that a next turn continues, and of its inputs, shapes (limit + 1,)."""
        transform = np.fft.rfft(weights, self._size)
        return self._inverse(transform * self._output) * self._fits, self._inverse(transform * self._both)

    def _inverse(self, transform: NDArray[np.complex128]) -> Floats:
        full = np.fft.irfft(transform, self._size)
        return np.asarray(np.maximum(full[: self._limit + 1], 0), np.float64)


def _smooth(least: int) -> int:
    """The smallest 2^a·3^b·5^c of `least` or more, a size that is quick to transform."""
    odd = [3**b * 5**c for b in range(14) for c in range(10)]
    return min(base << max(-(-least // base) - 1, 0).bit_length() for base in odd)
