"""How tokens use experts, as a problem file describes it, and how the engine balances them.

A setting, no decision. Without it experts are as unequal as in the tables that coefficients were fitted to.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from ..experts import ExpertUse, Popularity
from .fields import SECTION

_MOST_EXPERTS = 4096


class ExpertSettings(BaseModel):
    """Popularity of experts, and whether the engine rebalances them."""

    model_config = SECTION
    popularity: Popularity = Field(
        description="How often experts are chosen: uniform, zipf (rank^-exponent), or measured (counts)."
    )
    zipf_exponent: float | None = Field(default=None, ge=0, le=4, description="With popularity zipf.")
    counts: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        default=None,
        strict=False,
        max_length=_MOST_EXPERTS,
        description="With popularity measured: how often each expert of a layer was chosen.",
    )
    rebalanced: bool = Field(
        default=False,
        description="Whether experts are placed by popularity (EPLB), or cut in the model's order.",
    )
    redundant: int = Field(
        default=0,
        ge=0,
        le=_MOST_EXPERTS,
        description="With rebalancing: copies beyond one of each expert, in all expert groups together.",
    )

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> Self:
        for popularity, key, example in (
            ("zipf", "zipf_exponent", "zipf_exponent: 0.6"),
            ("measured", "counts", "counts: [120, 80, …]"),
        ):
            if (self.popularity == popularity) != (getattr(self, key) is not None):
                what = f"{key} belongs to popularity {popularity}"
                raise RuleError(what, "experts-popularity", f"write {example} with it, and only then", (key,))
        if self.counts is not None and not sum(self.counts) > 0:
            raise RuleError("no expert was ever chosen", "experts-counts", "give counts above 0", ("counts",))
        if self.redundant and not self.rebalanced:
            what = "copies of experts that are not placed by popularity"
            raise RuleError(what, "experts-redundant", "set rebalanced: true", ("redundant",))
        return self

    def use(self) -> ExpertUse:
        """The same as what laws read."""
        return ExpertUse(
            self.popularity, self.zipf_exponent or 0.0, self.counts or (), self.rebalanced, self.redundant
        )
