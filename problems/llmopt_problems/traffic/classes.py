"""Classes of requests with their laws: what a traffic description comes down to for drawing and for moments.

A traffic without classes is one class. A class without conversations is one whose conversations have one
turn, so everything that arrives is a conversation, and a request is a turn of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import Fault, ProblemError
from ..schema.sharing import MAX_TURNS
from ..schema.traffic import Conversation, Length, SharedPrefix, Traffic
from .lengths import LengthLaw, length_law
from .turns import TurnMoments, single_turn, turn_moments


@dataclass(frozen=True, slots=True, eq=False)
class ClassLaw:
    """One class, with its distributions as laws."""

    name: str
    share: float
    """Share of all requests."""
    first: LengthLaw
    follow_up: LengthLaw
    output: LengthLaw
    turns: LengthLaw
    prefix: SharedPrefix | None
    conversation: Conversation | None

    @property
    def max_input_tokens(self) -> int:
        """No input above this is sent."""
        return self.first.longest if self.conversation is None else self.conversation.max_input_tokens

    def moments(self, block_tokens: int) -> TurnMoments:
        """What turns of the class are on average; ProblemError when no message is short enough to be sent."""
        if self.conversation is None:
            return single_turn(self.first)
        laws = (self.first, self.follow_up, self.output, self.turns)
        found = turn_moments(*laws, self.max_input_tokens, block_tokens)
        if not found.turns > 0:
            what = f"every first message of {self.name or 'a conversation'} is longer than max_input_tokens"
            raise ProblemError(
                Fault(what, "conversation-empty", "raise max_input_tokens or shorten messages")
            )
        return found


def classes_of(traffic: Traffic) -> tuple[ClassLaw, ...]:
    """The classes of a traffic that is no trace."""
    if traffic.classes:
        total = math.fsum(each.share for each in traffic.classes)
        return tuple(
            _law(c.name, c.share / total, c.input_tokens, c.output_tokens, c.shared_prefix, c.conversation)
            for c in traffic.classes
        )
    inputs, outputs = traffic.input_tokens, traffic.output_tokens
    assert inputs is not None, "the schema requires lengths without a trace"
    assert outputs is not None, "the schema requires lengths without a trace"
    return (_law("", 1.0, inputs, outputs, traffic.shared_prefix, traffic.conversation),)


def starts_per_request(classes: tuple[ClassLaw, ...]) -> tuple[float, ...]:
    """Conversations of each class that start for every request of the traffic."""
    return tuple(each.share / each.moments(1).turns for each in classes)


def _law(
    name: str,
    share: float,
    inputs: Length,
    outputs: Length,
    prefix: SharedPrefix | None,
    conversation: Conversation | None,
) -> ClassLaw:
    first = length_law(inputs)
    if conversation is None:
        return ClassLaw(name, share, first, first, length_law(outputs), _ONE_TURN, prefix, None)
    later, turns = conversation.follow_up_tokens, length_law(conversation.turns)
    if turns.longest > MAX_TURNS:  # the schema does not open files
        what = f"a conversation may have {turns.longest} turns"
        raise ProblemError(Fault(what, "conversation-turns", f"list {MAX_TURNS} turns or less"))
    return ClassLaw(
        name,
        share,
        first,
        first if later is None else length_law(later),
        length_law(outputs),
        turns,
        prefix,
        conversation,
    )


_ONE_TURN = LengthLaw(1, np.ones(1))


def longest_conversation_s(each: ClassLaw) -> float:
    """Seconds from first to last turn that next to no conversation of the class exceeds.

    The mean time of the longest ones and six of their standard deviations, answers taking no time.
    """
    if each.conversation is None:
        return 0.0
    pauses, mean = each.turns.longest - 1, each.conversation.think_time_s
    return mean * (pauses + 6 * each.conversation.think_time_cv * math.sqrt(pauses))
