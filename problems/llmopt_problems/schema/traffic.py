"""The traffic section: how requests arrive, how long they are, and what they share."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from .fields import (
    MAX_TOKENS,
    SECTION,
    Count,
    ExistingFile,
    RequestsPerSecond,
    Share,
    Tokens,
    unit_keys,
    with_units,
)

TraceFormat = Literal["mooncake", "azure"]

TAIL_OF_MEAN = 10
"""Lognormal and exponential lengths are cut at this multiple of their mean unless `max` says otherwise."""

_RATE = 'Mean arrival rate, such as "6 req/s".'


class PoissonArrivals(BaseModel):
    """Independent requests: exponential gaps."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["poisson"]
    rate_per_s: RequestsPerSecond = Field(alias="rate", gt=0, description=_RATE)
    _units = model_validator(mode="before")(unit_keys("rate"))


class GammaArrivals(BaseModel):
    """Gamma-distributed gaps: burstier than Poisson with cv above 1, smoother below."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["gamma"]
    rate_per_s: RequestsPerSecond = Field(alias="rate", gt=0, description=_RATE)
    cv: float = Field(gt=0, le=100, description="Coefficient of variation of the gaps; 1 is Poisson.")
    _units = model_validator(mode="before")(unit_keys("rate"))


class DeterministicArrivals(BaseModel):
    """Equal gaps."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["deterministic"]
    rate_per_s: RequestsPerSecond = Field(alias="rate", gt=0, description=_RATE)
    _units = model_validator(mode="before")(unit_keys("rate"))


class ClosedLoop(BaseModel):
    """A fixed number of users, each sending its next request when its last one ends."""

    model_config = SECTION
    process: Literal["closed_loop"]
    concurrency: Count = Field(description="Number of users.")


class TraceArrivals(BaseModel):
    """Requests replayed from a recorded trace: arrivals, lengths and, where it has them, shared blocks."""

    model_config = SECTION
    process: Literal["trace"]
    file: ExistingFile = Field(description="Path to the trace, relative to this file.")
    format: TraceFormat = Field(description="mooncake (JSON lines with hash_ids) or azure (CSV).")
    limit: Count | None = Field(default=None, description="Requests to read; default: all.")
    skip: int = Field(default=0, ge=0, description="Requests to leave out at the start.")
    speedup: float = Field(default=1.0, gt=0, description="Divides every gap between arrivals.")


Arrivals = Annotated[
    PoissonArrivals | GammaArrivals | DeterministicArrivals | ClosedLoop | TraceArrivals,
    Field(discriminator="process"),
]


class ConstantLength(BaseModel):
    """Every request has the same length."""

    model_config = SECTION
    distribution: Literal["constant"]
    value: Tokens = Field(description="Tokens.")


class UniformLength(BaseModel):
    """Every whole number from min to max is equally likely."""

    model_config = SECTION
    distribution: Literal["uniform"]
    min: Tokens = Field(description="Fewest tokens.")
    max: Tokens = Field(description="Most tokens.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise RuleError("min is above max", "length-empty", "swap min and max", ("min",))
        return self


class LognormalLength(BaseModel):
    """Lognormal lengths, rounded to whole tokens and cut to [1, max]."""

    model_config = SECTION
    distribution: Literal["lognormal"]
    mean: float = Field(ge=1, le=MAX_TOKENS, description="Mean tokens before rounding and cutting.")
    cv: float = Field(gt=0, le=100, description="Coefficient of variation before rounding and cutting.")
    max: Tokens | None = Field(default=None, description="Longest length; default: 10 times the mean.")

    @property
    def longest(self) -> int:
        """Largest length that occurs, in tokens."""
        return self.max or _tail(self.mean)


class ExponentialLength(BaseModel):
    """Exponential lengths, rounded to whole tokens and cut to [1, max]."""

    model_config = SECTION
    distribution: Literal["exponential"]
    mean: float = Field(ge=1, le=MAX_TOKENS, description="Mean tokens before rounding and cutting.")
    max: Tokens | None = Field(default=None, description="Longest length; default: 10 times the mean.")

    @property
    def longest(self) -> int:
        """Largest length that occurs, in tokens."""
        return self.max or _tail(self.mean)


Length = ConstantLength | UniformLength | LognormalLength | ExponentialLength
_LengthField = Annotated[Length, Field(discriminator="distribution")]


class SharedPrefix(BaseModel):
    """Prefixes that requests share, such as system prompts: each request draws one of `groups` at random.

    The prefix is part of the input length; a request shorter than the prefix carries the head of it.
    """

    model_config = with_units(share=("share",))
    tokens: Tokens = Field(description="Length of a prefix.")
    groups: Count = Field(default=1, description="Number of different prefixes, equally likely.")
    share: Share = Field(default=1.0, gt=0, le=1, description="Share of requests that carry a prefix.")
    _units = model_validator(mode="before")(unit_keys("share"))


class Traffic(BaseModel):
    """Arrivals, lengths and sharing. A trace brings its own lengths; every other process needs them here."""

    model_config = SECTION
    arrivals: Arrivals = Field(description="How requests arrive.")
    input_tokens: _LengthField | None = Field(
        default=None, description="Prompt lengths; absent with a trace."
    )
    output_tokens: _LengthField | None = Field(
        default=None, description="Answer lengths; absent with a trace."
    )
    shared_prefix: SharedPrefix | None = Field(
        default=None, description="Shared prefixes; absent with a trace."
    )

    @model_validator(mode="after")
    def _lengths_once(self) -> Self:
        traced = isinstance(self.arrivals, TraceArrivals)
        for key in ("input_tokens", "output_tokens", "shared_prefix"):
            given = getattr(self, key) is not None
            if traced and given:
                raise RuleError(
                    "the trace already brings this", "trace-twice", f"remove {key} or the trace", (key,)
                )
            if not traced and not given and key != "shared_prefix":
                raise RuleError(
                    f"{key} is missing",
                    "lengths-missing",
                    f"add {key}: {{distribution: constant, value: 500}}",
                )
        return self

    @model_validator(mode="after")
    def _prefix_fits(self) -> Self:
        if self.shared_prefix is None or self.input_tokens is None:
            return self
        room = _typical_least(self.input_tokens)
        if self.shared_prefix.tokens > room:
            raise RuleError(
                "the shared prefix is longer than the input",
                "prefix-longer-than-input",
                f"use at most {math.floor(room)} tokens, or longer inputs",
                ("shared_prefix", "tokens"),
            )
        return self


def _typical_least(length: Length) -> float:
    """Longest sensible prefix: the shortest input, or the mean where any length down to one token occurs."""
    match length:
        case ConstantLength():
            return length.value
        case UniformLength():
            return length.min
        case _:
            return length.mean


def _tail(mean: float) -> int:
    return min(math.ceil(TAIL_OF_MEAN * mean), MAX_TOKENS)
