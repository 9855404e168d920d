"""Lengths of inputs and outputs: the distributions that a problem may name, in whole tokens."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from .fields import MAX_TOKENS, SECTION, ExistingFile, Tokens

TAIL_OF_MEAN = 10
"""Lognormal and exponential lengths are cut at this multiple of their mean unless `max` says otherwise."""

TAIL_OF_DEVIATION = 6
"""Normal lengths end this many standard deviations above their mean unless `max` says otherwise."""

MAX_VALUES = 10**5
"""Most values that an empirical distribution may list in the problem file."""

_MEAN = "Mean tokens before rounding and cutting."
_CV = "Coefficient of variation before rounding and cutting."


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
        _check_order(self.min, self.max)
        return self


class LognormalLength(BaseModel):
    """Lognormal lengths, rounded to whole tokens and cut to [1, max]."""

    model_config = SECTION
    distribution: Literal["lognormal"]
    mean: float = Field(ge=1, le=MAX_TOKENS, description=_MEAN)
    cv: float = Field(gt=0, le=100, description=_CV)
    max: Tokens | None = Field(default=None, description="Longest length; default: 10 times the mean.")

    @property
    def longest(self) -> int:
        """Largest length that occurs, in tokens."""
        return self.max or _tail(TAIL_OF_MEAN * self.mean)


class ExponentialLength(BaseModel):
    """Exponential lengths, rounded to whole tokens and cut to [1, max]."""

    model_config = SECTION
    distribution: Literal["exponential"]
    mean: float = Field(ge=1, le=MAX_TOKENS, description=_MEAN)
    max: Tokens | None = Field(default=None, description="Longest length; default: 10 times the mean.")

    @property
    def longest(self) -> int:
        """Largest length that occurs, in tokens."""
        return self.max or _tail(TAIL_OF_MEAN * self.mean)


class NormalLength(BaseModel):
    """Normal lengths, rounded to whole tokens; those outside [min, max] are drawn again (truncation)."""

    model_config = SECTION
    distribution: Literal["normal"]
    mean: float = Field(ge=1, le=MAX_TOKENS, description="Mean tokens before rounding and truncation.")
    cv: float = Field(gt=0, le=10, description="Standard deviation over mean, before truncation.")
    min: Tokens = Field(default=1, description="Fewest tokens.")
    max: Tokens | None = Field(
        default=None, description="Most tokens; default: the mean and six standard deviations."
    )

    @property
    def longest(self) -> int:
        """Largest length that occurs, in tokens."""
        return self.max or _tail(self.mean * (1 + TAIL_OF_DEVIATION * self.cv))

    @model_validator(mode="after")
    def _holds_the_mean(self) -> Self:
        if not self.min <= self.mean <= self.longest:
            raise RuleError(
                "the mean is outside min to max",
                "length-mean",
                "widen min to max or move the mean",
                ("mean",),
            )
        return self


class ZipfLength(BaseModel):
    """Lengths min, min + 1, … with weights 1, 2^-exponent, 3^-exponent, … up to max."""

    model_config = SECTION
    distribution: Literal["zipf"]
    exponent: float = Field(ge=0, le=20, description="0 is uniform; larger favours short lengths more.")
    min: Tokens = Field(default=1, description="Shortest and most frequent length, in tokens.")
    max: Tokens = Field(description="Most tokens.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.min, self.max)
        return self


class EmpiricalLength(BaseModel):
    """Observed lengths: listed here, with weights for a histogram, or in a file.

    The file has one length a line, or `length,weight`; its first line may be a header.
    """

    model_config = SECTION
    distribution: Literal["empirical"]
    values: tuple[Tokens, ...] = Field(
        default=(), strict=False, max_length=MAX_VALUES, description="Lengths in tokens; repeats count."
    )
    weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(), strict=False, max_length=MAX_VALUES, description="Weight of each value; default: equal."
    )
    file: ExistingFile | None = Field(
        default=None, description="Path, relative to this file, of the lengths."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (not self.values):
            raise RuleError(
                "an empirical length has one source", "empirical-source", "give values: [...] or file: path"
            )
        if self.weights and len(self.weights) != len(self.values):
            what = f"there are {len(self.weights)} weights for {len(self.values)} values"
            raise RuleError(what, "empirical-weights", "give one weight a value", ("weights",))
        if self.weights and not 0 < sum(self.weights) < math.inf:
            raise RuleError("no weight is above 0", "empirical-weights", "raise a weight", ("weights",))
        return self


Length = (
    ConstantLength
    | UniformLength
    | LognormalLength
    | ExponentialLength
    | NormalLength
    | ZipfLength
    | EmpiricalLength
)
LengthField = Annotated[Length, Field(discriminator="distribution")]


def typical_least(length: Length) -> float:
    """Longest sensible prefix: the shortest input, or the mean where any length down to one token occurs.

    Infinite for lengths in a file, which the schema does not open.
    """
    match length:
        case ConstantLength():
            return length.value
        case UniformLength() | ZipfLength():
            return length.min
        case EmpiricalLength():
            return min(length.values, default=math.inf)
        case _:
            return length.mean


def greatest(length: Length) -> int:
    """The largest length that occurs; 1 for lengths in a file, which the schema does not open."""
    match length:
        case ConstantLength():
            return length.value
        case UniformLength() | ZipfLength():
            return length.max
        case EmpiricalLength():
            return max(length.values, default=1)
        case _:
            return length.longest


def _tail(tokens: float) -> int:
    return min(math.ceil(tokens), MAX_TOKENS)


def _check_order(least: int, most: int) -> None:
    if least > most:
        raise RuleError("min is above max", "length-empty", "swap min and max", ("min",))
