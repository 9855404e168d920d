"""Service levels as limits of the program, and in the words in which results speak of them."""

from __future__ import annotations

from llmopt_optimizer.program import Limit
from llmopt_problems.metrics_catalog import METRICS
from llmopt_problems.schema.service import ServiceLevel
from llmopt_problems.units import format_quantity


def limit_of(level: ServiceLevel) -> Limit:
    """The limit that a service level puts on its metric."""
    return Limit(level.key, level.bound, level.value, level_text(level))


def level_text(level: ServiceLevel) -> str:
    """A service level as a person says it: `p95 ttft at most 2 s`."""
    name = f"{level.statistic} {level.metric}" if level.statistic else level.metric
    bound = format_quantity(level.value, METRICS[level.metric].dimension)
    return f"{name} {level.bound.replace('_', ' ')} {bound}"
