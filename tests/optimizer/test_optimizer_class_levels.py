"""Service levels of one class are refused, never ignored, while the loop cannot judge them."""

from __future__ import annotations

import pytest

from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem, ProblemError, load

CLASS = {
    "name": "chat",
    "share": 1.0,
    "input_tokens": {"distribution": "constant", "value": 500},
    "output_tokens": {"distribution": "constant", "value": 50},
}
LEVEL = {"metric": "ttft", "statistic": "p95", "at_most": "1 s"}


def with_class(**more: object) -> Problem:
    """The quickstart with its traffic in one class."""
    data = load("quickstart").model_dump(mode="json", exclude_none=True)
    arrivals = {"process": "poisson", "rate": "6 req/s"}
    return Problem.model_validate(data | {"traffic": {"arrivals": arrivals, "classes": [CLASS | more]}})


def test_levels_of_a_class_are_refused() -> None:
    with pytest.raises(ProblemError, match="one class \\(chat\\)"):
        resolve(with_class(slo=[LEVEL]))


def test_classes_without_levels_are_solved() -> None:
    assert resolve(with_class()).traffic.mean_input_tokens == 500
