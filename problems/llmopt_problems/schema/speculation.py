"""Speculative decoding as a problem file describes it: who drafts, how many tokens, how many are accepted.

It is a setting of what is simulated, no decision: the formulas that propose deployments do not know it, so
`solve` refuses a problem that has it.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from ..speculation import Speculation, equal_acceptance
from .fields import SECTION

MTP = "mtp"
"""The draft that is the model's own prediction head."""
LOOKUP = "lookup"
"""The draft that takes no accelerator time."""
MOST_DRAFT_TOKENS = 32


class SpeculationSettings(BaseModel):
    """A draft guesses tokens, one step of the model verifies them."""

    model_config = SECTION
    draft: str = Field(
        default=MTP,
        min_length=1,
        description="Who guesses: mtp (the model's own prediction head), the name of a model of the catalog, "
        "or lookup (no accelerator time, such as n-grams).",
    )
    draft_tokens: int = Field(
        ge=0, le=MOST_DRAFT_TOKENS, description="Tokens guessed for every sequence and step; 0: none."
    )
    acceptance: tuple[float, ...] | None = Field(
        default=None,
        strict=False,
        description="Of each draft token, the probability that it is accepted once those before it are.",
    )
    acceptance_length: float | None = Field(
        default=None, description="Measured mean of tokens a step, accepted drafts and the model's own token."
    )

    @model_validator(mode="after")
    def _accepts_once(self) -> Self:
        if self.draft_tokens > 0 and (self.acceptance is None) == (self.acceptance_length is None):
            raise RuleError(
                "how many drafts are accepted is said once",
                "acceptance-once",
                "write acceptance: [0.8, 0.6, …] or acceptance_length: 2.4",
            )
        return self

    @model_validator(mode="after")
    def _chances_fit(self) -> Self:
        chances = self.acceptance
        if chances is None or self.draft_tokens == 0:
            return self
        if len(chances) != self.draft_tokens or not all(0 <= chance <= 1 for chance in chances):
            raise RuleError(
                f"{len(chances)} entries for {self.draft_tokens} draft tokens, or one outside 0 to 1",
                "acceptance-chances",
                "give a probability for each draft token",
                ("acceptance",),
            )
        return self

    @model_validator(mode="after")
    def _length_fits(self) -> Self:
        most = self.draft_tokens + 1
        if self.acceptance_length is not None and not 1 <= self.acceptance_length <= most:
            raise RuleError(
                f"a step with {self.draft_tokens} drafts makes 1 to {most} tokens",
                "acceptance-length",
                f"give a length from 1 to {most}, or raise draft_tokens",
                ("acceptance_length",),
            )
        return self

    def speculation(self) -> Speculation | None:
        """The same as a part of a deployment; None without draft tokens."""
        draft = None if self.draft == LOOKUP else self.draft
        if self.draft_tokens == 0:
            return None
        if self.acceptance_length is not None:
            return equal_acceptance(self.draft_tokens, self.acceptance_length, draft)
        return Speculation(self.acceptance or (), draft)
