"""What requests have in common: prefixes that many share, conversations whose turns build on each other."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from .arrivals import Cv, Duration
from .fields import Count, Share, Tokens, unit_keys, with_units
from .lengths import LengthField, greatest

DEFAULT_MAX_INPUT = 32_768
MAX_TURNS = 1000
"""Most turns of a conversation; every turn is worked out by itself."""


class SharedPrefix(BaseModel):
    """Prefixes that requests share, such as system prompts: each request draws one of `groups` at random.

    The prefix is part of the input length; a request shorter than the prefix carries the head of it.
    """

    model_config = with_units(share=("share",))
    tokens: Tokens = Field(description="Length of a prefix.")
    groups: Count = Field(default=1, description="Number of different prefixes.")
    zipf_exponent: float = Field(
        default=0.0,
        ge=0,
        le=20,
        description="Prefix k is drawn with weight k^-exponent; 0: all are equally likely.",
    )
    share: Share = Field(
        default=1.0, gt=0, le=1, description="Share of requests (of conversations) that carry a prefix."
    )
    _units = model_validator(mode="before")(unit_keys("share"))


class Conversation(BaseModel):
    """Turns that build on each other: a turn sends all messages and answers so far, then its own message.

    `input_tokens` is then the first message (with the shared prefix in it) and `output_tokens` every answer.
    The rate stays that of requests: every turn counts. A turn comes when the answer before it has ended and
    the user has thought.
    """

    model_config = with_units(think_time=("time",))
    turns: LengthField = Field(description="Turns of a conversation; written as a length, in turns.")
    think_time_s: Duration = Field(
        alias="think_time", description='Mean pause from an answer to the next turn, such as "30 s".'
    )
    think_time_cv: Cv = Field(
        default=1.0,
        description="Coefficient of variation of the pause: 1 exponential, 0 constant, else gamma.",
    )
    follow_up_tokens: LengthField | None = Field(
        default=None, description="New tokens of every later message; default: as input_tokens."
    )
    max_input_tokens: Tokens = Field(
        default=DEFAULT_MAX_INPUT, description="A conversation ends before an input grows beyond this."
    )
    _units = model_validator(mode="before")(unit_keys("think_time"))

    @model_validator(mode="after")
    def _few_turns(self) -> Self:
        if greatest(self.turns) > MAX_TURNS:
            what = f"a conversation may have {greatest(self.turns)} turns"
            raise RuleError(what, "conversation-turns", f"set max to {MAX_TURNS} or less", ("turns",))
        return self
