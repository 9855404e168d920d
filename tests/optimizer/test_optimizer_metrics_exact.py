"""A metric's expression and its compiled number agree to 1e-9, whatever the decisions and frozen numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import mpmath
import numpy as np
import pytest
from optimizer_loop_cases import KINDS, Rows, formulas, random_rows
from sympy import Symbol

from llmopt_optimizer.core.evaluation import evaluate
from llmopt_optimizer.core.exact import DIGITS, Value, precise_values
from llmopt_optimizer.core.program import Assignment, Choice, Objective, State, Variant

RELATIVE = 1e-9
STEP = mpmath.mpf(10) ** -12
"""Relative step of the secant that polishes a state at 30 digits."""


def polished(state: State, known: dict[Symbol, Value], start: float) -> Value:
    """The root next to the compiled one, from one secant step at 30 digits."""
    low = mpmath.mpf(start)
    high = low * (1 + STEP)
    below, above = (precise_values([state.equation], {**known, state.symbol: x})[0] - x for x in (low, high))
    return low - below * (high - low) / (above - below)


def variant_of(rows: Rows, pool: int, row: int) -> tuple[Variant, Choice]:
    columns = rows.columns[pool]
    return columns.pool.variants[int(columns.variant[row])], columns.choice(row)


def precise_metrics(rows: Rows, row: int) -> dict[str, Value]:
    """Every metric of a row, node by node at 30 digits; reads only decisions and states of the table."""
    parameters = {symbol: mpmath.mpf(value) for symbol, value in rows.parameters.items()}
    known = dict(parameters)
    for index, columns in enumerate(rows.columns):
        variant, choice = variant_of(rows, index, row)
        chosen = dict(choice.values)
        local = parameters | {d.symbol: mpmath.mpf(chosen[d.symbol.name]) for d in variant.decisions}
        for state in variant.states:
            local[state.symbol] = polished(state, local, float(columns.states[state.symbol][row]))
        known |= dict(
            zip(variant.attributes, precise_values(variant.attributes.values(), local), strict=True)
        )
    return dict(zip(rows.system.metrics, precise_values(rows.system.metrics.values(), known), strict=True))


def disagreements(rows: Rows) -> list[tuple[str, float, float]]:
    """Metrics whose compiled number differs from the expression, with both numbers."""
    found = []
    with mpmath.workdps(DIGITS):
        for row in range(len(rows)):
            for name, exact in precise_metrics(rows, row).items():
                number = float(rows.metrics[name][row])
                if not abs(number - exact) <= RELATIVE * abs(exact):
                    found.append((f"{rows.system.name} {name}", number, float(exact)))
    return found


def check(kind: str, seed: int, draws: int, most: int) -> None:
    """`draws * most` rows of a kind, every metric of each."""
    tables = list(islice(random_rows(formulas(kind), np.random.default_rng(seed), most), draws))
    assert sum(map(len, tables)) == draws * most
    assert {rows.system.name for rows in tables} == {"aggregated", "disaggregated"}
    found = [difference for rows in tables for difference in disagreements(rows)]
    assert not found, (len(found), found[:5])


@pytest.mark.parametrize("kind", ["dense_open", "dense_closed", "moe_open"])
def test_expression_is_compiled_number(kind: str) -> None:
    check(kind, seed=0, draws=20, most=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_expression_is_compiled_number_in_ten_thousand_states(kind: str) -> None:
    check(kind, seed=1, draws=250, most=10)


def test_predictor_and_judge_read_the_same_expressions() -> None:
    """`Predictor.at`, the tables and the judge of the solvers give one number for one assignment."""
    made = formulas("dense_closed")
    keys = ("ttft_p95_s", "tpot_mean_s", "power_w", "peak_memory_bytes", "cost_per_million_output_tokens")
    for rows in islice(random_rows(made, np.random.default_rng(2), 1), 4):
        choices = tuple(columns.choice(0) for columns in rows.columns)
        assignment = Assignment(rows.system.name, choices)
        predicted = made.predictor.at(assignment, rows.parameters)
        objectives = tuple(map(Objective, keys))
        judged = evaluate(
            replace(made.program, parameters=rows.parameters, objectives=objectives), assignment
        )
        for key, value in predicted.items():
            assert value == pytest.approx(float(rows.metrics[key][0]), rel=1e-12)
        for key in keys:
            assert predicted[key] == pytest.approx(float(judged.metrics[key]), rel=RELATIVE)
