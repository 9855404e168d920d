"""Search domains: the finite sets of counts that a decision may take, as choices or as a range."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ..errors import RuleError
from .fields import SECTION, Count

LARGEST = 10**6
"""Largest value of a domain, and so the most values that one has."""


class CountRange(BaseModel):
    """`min`, `min + step`, … up to `max`."""

    model_config = SECTION
    min: int = Field(ge=-LARGEST, le=LARGEST, description="First value.")
    max: int = Field(ge=-LARGEST, le=LARGEST, description="No value is above this.")
    step: Count = Field(default=1, description="Distance of consecutive values.")

    @property
    def values(self) -> tuple[int, ...]:
        """All values, ascending."""
        return tuple(range(self.min, self.max + 1, self.step))


class CountDomain(BaseModel):
    """A finite set of positive counts: `{choices: [1, 2, 4]}` or `{range: {min: 1, max: 16, step: 1}}`."""

    model_config = SECTION
    choices: tuple[Annotated[int, Field(le=LARGEST)], ...] | None = Field(
        default=None, strict=False, description="The values one by one."
    )
    range: CountRange | None = Field(default=None, description="Equally spaced values.")

    @property
    def values(self) -> tuple[int, ...]:
        """The values, ascending."""
        return tuple(sorted(self.choices)) if self.range is None else self.range.values  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.choices is None) == (self.range is None):
            raise RuleError(
                "a domain has either choices or a range",
                "domain-form",
                "write {choices: [1, 2, 4]} or {range: {min: 1, max: 16, step: 1}}",
            )
        return self

    @model_validator(mode="after")
    def _sound(self) -> Self:
        values = self.values
        if not values:
            raise RuleError(
                "no value is left", "domain-empty", "list at least one value; min must not exceed max"
            )
        if values[0] < 1:
            raise RuleError(
                f"{values[0]} is not positive", "domain-not-positive", "use whole numbers from 1 upwards"
            )
        if len(set(values)) < len(values):
            raise RuleError("a value is listed twice", "domain-duplicate", "list each value once")
        return self


def _domain_form(value: object) -> object:
    """A bare value or list is a list of choices."""
    if value is None or isinstance(value, dict | CountDomain):
        return value
    return {"choices": value if isinstance(value, list | tuple) else (value,)}


Domain = Annotated[
    CountDomain, BeforeValidator(_domain_form, json_schema_input_type=int | tuple[int, ...] | CountDomain)
]


def domain_of(*values: int) -> CountDomain:
    """The domain with these choices."""
    return CountDomain(choices=values)
