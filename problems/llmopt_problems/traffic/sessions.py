"""Conversations drawn: who starts when, and the turns of each as flat arrays.

Arrays over turns are flat, conversation after conversation, the turns of one in order; `session` says which
conversation a turn is of. A request that is no conversation is one of one turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .classes import ClassLaw
from .lengths import LengthLaw

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_Number = TypeVar("_Number", np.int64, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """One random stream a purpose: a change of one leaves the draws of the others as they were."""

    arrivals: np.random.Generator
    inputs: np.random.Generator
    outputs: np.random.Generator
    prefixes: np.random.Generator
    classes: np.random.Generator
    turns: np.random.Generator
    thinking: np.random.Generator


def streams_of(seed: int) -> Streams:
    """The streams of a seed."""
    return Streams(*(np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(7)))


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """Drawn turns, shapes (turns,)."""

    session: Ints
    first: NDArray[np.bool_]
    """Whether the turn opens its conversation."""
    class_id: Ints
    input_tokens: Ints
    output_tokens: Ints
    think_s: Floats
    """Pause before the turn; 0 for the first."""
    since_start_s: Floats
    """Sum of the pauses so far."""

    def where(self, keep: NDArray[np.bool_] | Ints) -> Turns:
        """Some of the turns, or all in another order."""
        return Turns(*(getattr(self, name)[keep] for name in Turns.__slots__))


def draw_classes(shares: Sequence[float], count: int, rng: np.random.Generator) -> Ints:
    """The class of each of `count` conversations, drawn in proportion to `shares`."""
    if len(shares) == 1:
        return np.zeros(count, np.int64)
    cumulative = np.cumsum(shares) / sum(shares)
    return np.searchsorted(cumulative[:-1], rng.random(count), side="right").astype(np.int64)


def draw_turns(classes: Sequence[ClassLaw], class_of: Ints, streams: Streams) -> Turns:
    """The turns of conversations of these classes that are short enough to be sent."""
    turns = _pick([each.turns for each in classes], class_of, streams.turns)
    session = np.repeat(np.arange(len(class_of)), turns)
    starts = np.cumsum(turns) - turns
    first = np.zeros(len(session), bool)
    first[starts] = True
    kind = class_of[session]
    openings = [each.first for each in classes]
    laws = openings + [each.follow_up for each in classes]
    messages = _pick(laws, np.where(first, kind, kind + len(classes)), streams.inputs)
    outputs = _pick([each.output for each in classes], kind, streams.outputs)
    think_s = np.where(first, 0.0, _pauses(classes, kind, streams.thinking))
    answers = np.where(first, 0, np.roll(outputs, 1))
    inputs = _running(messages + answers, starts, turns)
    drawn = Turns(session, first, kind, inputs, outputs, think_s, _running(think_s, starts, turns))
    # Inputs grow, so what is too long is the end of a conversation.
    limits = np.array([each.max_input_tokens for each in classes])
    return drawn.where(inputs <= limits[kind])


def draw_pauses(mean_s: float, cv: float, count: int, rng: np.random.Generator) -> Floats:
    """Pauses of this mean and coefficient of variation: gamma, which is exponential for 1, constant for 0."""
    if mean_s == 0 or cv < _STEADY:
        return np.full(count, mean_s)
    shape = cv**-2
    return rng.gamma(shape, mean_s / shape, count)


_STEADY = 1e-6
"""Pauses that vary less than this do not vary."""


def _pick(laws: Sequence[LengthLaw], which: Ints, rng: np.random.Generator) -> Ints:
    """A draw of `laws[which]` for each entry; one number of the stream each, whatever the laws."""
    uniforms = rng.random(len(which))
    if len(laws) == 1:
        return laws[0].pick(uniforms)
    drawn = np.zeros(len(which), np.int64)
    for index, law in enumerate(laws):
        drawn[which == index] = law.pick(uniforms[which == index])
    return drawn


def _pauses(classes: Sequence[ClassLaw], kind: Ints, rng: np.random.Generator) -> Floats:
    pauses = np.zeros(len(kind))
    for index, each in enumerate(classes):
        if each.conversation is not None:
            mine = kind == index
            talk = each.conversation
            pauses[mine] = draw_pauses(talk.think_time_s, talk.think_time_cv, int(mine.sum()), rng)
    return pauses


def _running(values: NDArray[_Number], starts: Ints, turns: Ints) -> NDArray[_Number]:
    """Sums from the start of each conversation up to every turn."""
    sums = np.cumsum(values)
    before = sums[starts] - values[starts]
    return np.asarray(sums - np.repeat(before, turns))
