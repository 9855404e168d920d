"""Metrics of one's own: the language, its limits, and what a problem says of mistakes in it."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems_hostile_formulas import hostile

from llmopt_problems import Problem, ProblemError, load
from llmopt_problems.expressions import Constant, Formula, FormulaError, Operation, Reference, parse
from llmopt_problems.expressions.definitions import DefinitionError, checked_definitions
from llmopt_problems.expressions.intervals import range_of
from llmopt_problems.schema.formula_names import known_names

Write = Callable[[str | bytes], Path]
OPERATIONS: dict[str, Callable[..., float]] = {
    "+": lambda a, b: a + b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "min": min,
    "max": max,
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "log": math.log,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "if": lambda condition, value, other: value if condition else other,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "-": lambda a, b=None: -a if b is None else a - b,
}


def value_of(formula: Formula, known: dict[str, float]) -> float:
    """The naive value of a tree."""
    if isinstance(formula, Constant):
        return formula.value
    if isinstance(formula, Reference):
        return known[formula.name]
    return OPERATIONS[formula.operator](*(value_of(operand, known) for operand in formula.operands))


@pytest.fixture(name="problem")
def _problem(write: Write, base_text: str) -> Problem:
    return load(write(base_text))


def with_metrics(base_text: str, metrics: str, extra: str = "") -> str:
    return f"{base_text}{extra}metrics:\n{metrics}"


def test_at_least_three_hundred_hostile_texts_are_refused_without_cost(problem: Problem) -> None:
    known, texts = known_names(problem.hardware, problem.search, problem.traffic), hostile()
    assert len(texts) >= 300
    tracemalloc.start()
    for text in texts:
        with pytest.raises((FormulaError, DefinitionError)):
            checked_definitions({"m": parse(text)}, known)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 20e6


@pytest.mark.parametrize("text", ["eval('1')", "1 / (gpus - 4)", "9 ** 9 ** 9 ** 9", "-" * 400 + "1", "gpu"])
def test_a_hostile_text_in_a_file_is_a_problem_error(write: Write, base_text: str, text: str) -> None:
    quoted = text.replace("'", "''")
    with pytest.raises(ProblemError) as caught:
        load(write(with_metrics(base_text, f"  own: {{formula: '{quoted}', unit: s}}\n")))
    assert caught.value.faults[0].key == "metrics.own.formula"
    assert caught.value.remedy


Meaning = Callable[[dict[str, float]], float]
Written = tuple[str, Meaning]
"""A text, and what it means by plain Python functions that never see the text."""


def _leaf(text: str) -> Written:
    return text, lambda known: known[text] if text in known else float(text)


def _grown(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    return st.tuples(st.sampled_from(list(SHAPES)), inner, inner, inner, inner).map(_joined)


def _joined(drawn: tuple[str, Written, Written, Written, Written]) -> Written:
    shape, *parts = drawn
    meanings = [meaning for _, meaning in parts]
    text = shape.format(*(part for part, _ in parts))
    return text, lambda known: SHAPES[shape](*(meaning(known) for meaning in meanings))


SHAPES: dict[str, Callable[..., float]] = {
    "({} + {})": lambda a, b, *_: a + b,
    "({} - {})": lambda a, b, *_: a - b,
    "({} * {})": lambda a, b, *_: a * b,
    "({} / {})": lambda a, b, *_: a / b,
    "({}) ** 2": lambda a, *_: a**2.0,
    "({}) ** 0.5": lambda a, *_: math.sqrt(a),
    "({}) ** -1": lambda a, *_: 1 / a,
    "abs({})": lambda a, *_: abs(a),
    "ceil({})": lambda a, *_: math.ceil(a),
    "floor({})": lambda a, *_: math.floor(a),
    "min({}, {})": lambda a, b, *_: min(a, b),
    "max({}, {}, {})": lambda a, b, c, *_: max(a, b, c),
    "({} if {} < {} else {})": lambda a, b, c, d: a if b < c else d,
    "-{}": lambda a, *_: -a,
}
LEAVES = st.sampled_from(["a", "b", "c", "0", "1", "7", "0.5", "2.25", "1e-2"]).map(_leaf)
FORMULAS = st.recursive(LEAVES, _grown, max_leaves=8)
RANGES = {"a": (0.5, 3.0), "b": (-2.0, 1.5), "c": (0.0, 40.0)}


@given(FORMULAS, st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_values_are_those_of_python_and_lie_in_the_range(written: Written, places: list[float]) -> None:
    text, meaning = written
    try:
        tree = parse(text)
        low, high = range_of(tree, RANGES)
    except FormulaError:
        return
    known = {
        name: lo + place * (hi - lo) for (name, (lo, hi)), place in zip(RANGES.items(), places, strict=True)
    }
    value = value_of(tree, known)
    assert value == pytest.approx(meaning(known), rel=1e-12, abs=1e-300)
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    assert low - slack <= value <= high + slack


def test_precedence_is_pythons() -> None:
    tree = parse("-a ** 2 + b * c if a < b else 1")
    assert isinstance(tree, Operation)
    assert tree.operator == "if"
    assert value_of(tree, {"a": 1.0, "b": 2.0, "c": 3.0}) == -1.0 + 6.0


CASES = [
    ("  own: {formula: gpus + gpuz, unit: s}", "formula-name", 25, "did you mean gpus"),
    ('  own: {formula: "gpus + gpuz", unit: s}', "formula-name", 26, "did you mean gpus"),
    ("  own: {formula: 2 / (gpus - 4), unit: s}", "formula-zero-division", 23, "max"),
    ("  own: {formula: exp(power_w), unit: s}", "formula-unbounded", 18, "bound it"),
    ("  own: {formula: gpus + , unit: s}", "formula-syntax", 24, "arithmetic"),
    ("  one: {formula: two, unit: s}\n  two: {formula: one + 1, unit: s}", "formula-cycle", 18, "cycle"),
    ("  own: {formula: own + 1, unit: s}", "formula-cycle", 18, "cycle"),
    ("  gpus: {formula: 1 + 1, unit: s}", "metric-name", 9, "another name"),
    ("  own: {formula: concurrency + 1, unit: s}", "formula-name", 18, ""),
]


@pytest.mark.parametrize(("metrics", "rule", "column", "remedy"), CASES)
def test_mistakes_have_their_place(
    write: Write, base_text: str, metrics: str, rule: str, column: int, remedy: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        load(write(with_metrics(base_text, metrics + "\n")))
    first_line = base_text.count("\n") + 2
    assert (caught.value.rule, caught.value.column) == (rule, column)
    assert caught.value.line in (first_line, first_line + 1)
    assert remedy in caught.value.remedy


OWN = "  carbon: {formula: power_w * 0.35, unit: g/h, better: lower}\n"


@pytest.mark.parametrize(
    ("bound", "rule"),
    [
        ('"5 g/h"', None),
        ("5", None),
        ('"5 kg"', "unit-unknown"),
        ('"much"', "quantity"),
        ("true", "quantity"),
    ],
)
def test_bounds_are_in_the_declared_unit(write: Write, base_text: str, bound: str, rule: str | None) -> None:
    level = f"  - {{metric: carbon, at_most: {bound}}}\n"
    text = with_metrics(base_text.replace("slo:\n", f"slo:\n{level}"), OWN)
    if rule is None:
        problem = load(write(text))
        assert (problem.slo[0].value, problem.slo[0].unit_text, problem.slo[0].key) == (5.0, "g/h", "carbon")
        level = problem.slo[0]
        assert type(level).model_validate(level.model_dump(mode="json", exclude_none=True)) == level
        return
    with pytest.raises(ProblemError) as caught:
        load(write(text))
    assert caught.value.rule == rule


def test_objectives_respect_the_declared_direction_and_known_names(write: Write, base_text: str) -> None:
    for objective, rule in (
        ("maximize: carbon", "objective-direction"),
        ("minimize: carbom", "unknown-choice"),
    ):
        text = with_metrics(base_text.replace("minimize: gpus", objective), OWN)
        with pytest.raises(ProblemError) as caught:
            load(write(text))
        assert caught.value.rule == rule


def test_definitions_come_in_an_order_that_can_be_computed(write: Write, base_text: str) -> None:
    metrics = (
        '  c: {formula: a + b, unit: ""}\n  b: {formula: 2 * a, unit: ""}\n  a: {formula: gpus, unit: ""}\n'
    )
    problem = load(write(with_metrics(base_text, metrics)))
    assert [definition.name for definition in problem.definitions()] == ["a", "b", "c"]
    assert problem.definitions()[2].range == (3.0, 48.0)
