"""The generated pages: nothing of the schema, the command line or the metrics is left out."""

from __future__ import annotations

import re

import pytest

from llmopt_optimizer.reference.pages import pages
from llmopt_problems import json_schema
from llmopt_problems.metrics_catalog import METRICS, metric_key


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_its_formula_with_every_symbol_explained(reference: dict[str, str], name: str) -> None:
    page, info = reference[f"metrics/{name}.md"], METRICS[name]
    key = metric_key(name, "p95" if info.needs_statistic else None)
    formulas = re.findall(r"```math\n(.*?)\n```", page, re.DOTALL)
    assert formulas
    escaped = rf"\text{{{key}}}".replace("_", r"\_")
    assert all(f"{escaped} &=" in formula for formula in formulas)
    symbols = re.findall(r"^\| \$(.+?)\$ \| `(\w+)` \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert symbols
    assert all(unit and meaning for _, _, unit, meaning in symbols)
    for letter, _, _, _ in symbols:
        assert any(letter in formula for formula in formulas), letter
    assert "## Assumptions" in page


def test_letters_are_not_used_twice(reference: dict[str, str]) -> None:
    meanings: dict[str, set[str]] = {}
    for page in reference.values():
        for letter, name in re.findall(r"^\| \$(.+?)\$ \| `(\w+)` \|", page, re.MULTILINE):
            meanings.setdefault(letter, set()).add(name)
    twice = {k: v for k, v in meanings.items() if len(v) > 1 and k not in (r"\sigma", r"\alpha", "b")}
    assert not twice


def test_every_key_of_the_schema_is_listed(reference: dict[str, str]) -> None:
    page = reference["problem.md"]
    for name, definition in json_schema()["$defs"].items():
        assert f"\n## {name}\n" in page
        for key in definition.get("properties", {}):
            assert f"| `{key}` |" in page


def test_every_command_and_function_is_listed(reference: dict[str, str]) -> None:
    import llmopt

    for command in ("solve", "simulate", "launch", "import", "graph", "catalog"):
        assert f"\n## llmopt {command}" in reference["commands.md"]
    assert "`--plot`" in reference["commands.md"]
    for name in (*llmopt.__all__, *(f"symbolic.{each}" for each in llmopt.symbolic.__all__)):
        if name not in ("catalog", "symbolic"):
            assert f"\n## llmopt.{name}\n" in reference["python.md"]
