"""`--set`: values replaced and added, and errors that point into the option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmopt_problems import ProblemError, load

Write = Callable[[str | bytes], Path]


def test_overrides_replace_and_add(base_text: str, write: Write) -> None:
    problem = load(
        write(base_text),
        [
            "slo.0.at_most=3 s",
            "slo.1={metric: tpot, statistic: p95, at_most_ms: 40}",
            "search.tp={choices: [4, 8]}",
            "search.instances.range.min=1",
            "search.instances.range.max=2",
            "name=a=b",
        ],
    )
    assert [level.value for level in problem.slo] == [3.0, 0.04]
    assert problem.search.tp is not None
    assert problem.search.tp.values == (4, 8)
    assert problem.search.instances is not None
    assert problem.search.instances.values == (1, 2)
    assert problem.name == "a=b"


def test_an_override_replaces_the_value_under_either_spelling(base_text: str, write: Write) -> None:
    path = write(base_text.replace('at_most: "2 s"', "at_most_ms: 1500"))
    assert load(path, ["slo.0.at_most=3 s"]).slo[0].value == 3.0
    assert load(path, ["slo.0.at_most_s=4"]).slo[0].value == 4.0


@pytest.mark.parametrize(
    ("option", "rule", "column"),
    [
        ("slo.0.at_most=3", "unit-missing", 15),
        ("slo.0.at_mst=3 s", "unknown-key", 1),
        ("search.tp=[1, x]", "int-type", 15),
        ("search.tp=[1, ", "yaml-syntax", 15),
        ("slo.7.at_most=3 s", "override-path", 1),
        ("slo.first=3 s", "override-path", 1),
        ("kind.of=x", "override-path", 1),
        ("slo", "override-form", None),
        ("=3", "override-form", None),
        ("slo..at_most=3", "override-form", None),
        ("name=", "override-form", None),
    ],
)
def test_errors_point_into_the_option(
    base_text: str, write: Write, option: str, rule: str, column: int | None
) -> None:
    with pytest.raises(ProblemError) as caught:
        load(write(base_text), [option])
    assert caught.value.file == f"--set {option}"
    assert (caught.value.rule, caught.value.column) == (rule, column)
