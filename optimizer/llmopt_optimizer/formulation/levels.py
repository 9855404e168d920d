"""Service levels as limits of the program, and in the words in which results speak of them."""

from __future__ import annotations

from llmopt_optimizer.core.program import Limit
from llmopt_optimizer.output.formatting import level_text as level_text
from llmopt_problems.schema.service import ServiceLevel


def limit_of(level: ServiceLevel) -> Limit:
    """The limit that a service level puts on its metric."""
    return Limit(level.key, level.bound, level.value, level_text(level))
