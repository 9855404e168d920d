"""Speculative decoding: a draft guesses the next tokens of a sequence, one step of the model verifies them.

Draft token i is accepted with probability a_i once those before it are, and the model adds a token of its own
after the last accepted one. So a step makes n >= 1 tokens a sequence, with P(n > i) = a_1 … a_i, and
E[n] = 1 + Σ_i a_1 … a_i; for equal a_i that is Σ aⁱ, i = 0 … k (Leviathan, Kalman, Matias, "Fast inference
from transformers via speculative decoding", ICML 2023, equation 1). E[n] is the acceptance length that
engines report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Speculation:
    """How a pool that decodes speculates."""

    acceptance: tuple[float, ...]
    """Of each draft token, the probability that it is accepted once those before it are."""
    draft: str | None = None
    """Who guesses: `mtp`, the model's own multi-token prediction head; a model of the catalog by its name;
    None: something that costs no accelerator time, such as looking n-grams up."""

    @property
    def draft_tokens(self) -> int:
        """Tokens that the draft guesses for every sequence and step."""
        return len(self.acceptance)

    @property
    def survival(self) -> tuple[float, ...]:
        """Of each draft token, the probability that it and all before it are accepted."""
        return tuple(accumulate(self.acceptance, mul))

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of a sequence and step, where its answer does not end before: E[n]."""
        return 1.0 + math.fsum(self.survival)


def equal_acceptance(draft_tokens: int, mean_tokens: float, draft: str | None = None) -> Speculation:
    """Speculation whose draft tokens are all accepted with one probability a, such that Σ aⁱ = `mean_tokens`.

    Raises ValueError where no a in [0, 1] gives that: it lies between 1 and `draft_tokens` + 1.
    """
    if not 1.0 <= mean_tokens <= draft_tokens + 1:
        raise ValueError(
            f"an acceptance length of {mean_tokens} with {draft_tokens} draft tokens: "
            f"it is from 1 to {draft_tokens + 1}"
        )
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if math.fsum(middle**i for i in range(draft_tokens + 1)) < mean_tokens:
            low = middle
        else:
            high = middle
    return Speculation((high,) * draft_tokens, draft)


def measured_acceptance(mean_tokens: Sequence[float]) -> Speculation:
    """Speculation from acceptance lengths measured with 1, 2, … draft tokens.

    One draft token more adds the probability that all are accepted, so the differences of the lengths are the
    survivals. Raises ValueError where they are no falling probabilities.
    """
    survivals = [after - before for before, after in zip((1.0, *mean_tokens), mean_tokens, strict=False)]
    before = [1.0, *survivals[:-1]]
    if any(not 0.0 <= now <= last for now, last in zip(survivals, before, strict=True)):
        raise ValueError(
            f"acceptance lengths {list(mean_tokens)}: each must exceed the one before by a probability that "
            "does not grow; measure all with the same draft and traffic"
        )
    return Speculation(
        tuple(now / last if last > 0 else 0.0 for now, last in zip(survivals, before, strict=True))
    )
