"""The baselines against the exact front: the grid equals it, the others find a part of it and never more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from llmopt_optimizer.core.pareto import pareto
from llmopt_optimizer.symbolic import (
    Limit,
    Objective,
    SymbolicModel,
    bound,
    decision_bound,
    epsilon_constraint,
    evaluate,
    grid_search,
    ratio_bound,
    scipy_search,
    states_at,
    symbolic_model,
    weighted_sum,
)
from llmopt_problems import load

COST, TPOT, TTFT = "cost_per_million_output_tokens", "tpot_p95_s", "ttft_p95_s"
BOTH = (Objective(COST), Objective(TPOT))
LIMITS = (Limit(TTFT, "at_most", 2.0), Limit(TPOT, "at_most", 0.04))


@pytest.fixture(scope="module")
def model() -> SymbolicModel:
    return symbolic_model(load("quickstart"), "disaggregated")


@pytest.fixture(scope="module")
def front(model: SymbolicModel) -> np.ndarray:
    program = replace(model.program, objectives=BOTH, limits=LIMITS)
    found = pareto(program)
    assert found.complete
    return np.array(sorted(point.objectives for point in found.points))


def costs(table: pd.DataFrame) -> np.ndarray:
    return table[[COST, TPOT]].to_numpy()


def test_the_grid_is_the_exact_front(model: SymbolicModel, front: np.ndarray) -> None:
    assert len(front) > 2
    assert costs(grid_search(model, BOTH, LIMITS)) == pytest.approx(front, rel=1e-9)


def test_weighted_sums_are_on_the_front(model: SymbolicModel, front: np.ndarray) -> None:
    weights = [(1.0, 1e-6), (1.0, 100.0), (1e-6, 1.0)]
    found = costs(weighted_sum(model, BOTH, weights, LIMITS))
    assert found[0] == pytest.approx(front[0])
    assert found[-1] == pytest.approx(front[-1])
    assert all(np.isclose(front, row, rtol=1e-9).all(axis=1).any() for row in found)


def test_fine_steps_of_epsilon_give_the_front(model: SymbolicModel, front: np.ndarray) -> None:
    found = costs(epsilon_constraint(model, BOTH, 12, LIMITS))
    best = {cost: min(tpot for other, tpot in found if other == cost) for cost, _ in found}
    assert np.array(sorted(best.items())) == pytest.approx(front, rel=1e-9)
    with pytest.raises(ValueError, match="two objectives"):
        epsilon_constraint(model, BOTH[:1], 3)


def test_a_random_search_is_feasible_and_no_better(model: SymbolicModel, front: np.ndarray) -> None:
    (found,) = scipy_search(model, BOTH[0], LIMITS, rounds=3).to_dict("records")
    assert found[TTFT] <= 2
    assert found[TPOT] <= 0.04
    assert found[COST] >= front[0, 0] * (1 - 1e-9)
    decided = {symbol.name: found[symbol.name] for symbol in model.decisions}
    assert evaluate(model, [COST], decided)[COST][0] == pytest.approx(found[COST])


def test_what_no_point_reaches_gives_no_row(model: SymbolicModel) -> None:
    never = (Limit(TPOT, "at_most", 1e-9),)
    assert grid_search(model, BOTH, never).empty
    assert epsilon_constraint(model, BOTH, 3, never).empty
    assert weighted_sum(model, BOTH, [(1.0, 1.0)], never).empty
    assert scipy_search(model, BOTH[0], never, rounds=1).empty


BOUNDED = [
    "peak_memory_bytes",
    "memory_fraction",
    "ttft_p95_s",
    "tpot_p95_s",
    "e2e_p95_s",
    "throughput_tokens_per_s",
    "throughput_requests_per_s",
    "cost_per_hour",
    "power_w",
    "gpus",
    "compute_utilization",
]
POINT = {"tp": 2, "pp": 1, "ep": 1, "dp": 1}
HERE = (
    {f"prefill_{name}": value for name, value in POINT.items()}
    | {f"decode_{name}": value for name, value in POINT.items()}
    | {"prefill_instances": 3, "decode_instances": 2, "prefill_chunk_tokens": 2048, "decode_batch_cap": 128}
)


@pytest.mark.parametrize("metric", BOUNDED)
def test_a_bound_holds_on_its_side_of_the_value_only(model: SymbolicModel, metric: str) -> None:
    value = evaluate(model, [metric], HERE)[metric][0]
    numbers = states_at(model, HERE)
    sides = bound(model, metric, at_most=value * 1.001, at_least=value * 0.999)
    assert [bool(each.xreplace(_sympy(numbers))) for each in sides] == [True, True]
    sides = bound(model, metric, at_most=value * 0.999, at_least=value * 1.001)
    assert [bool(each.xreplace(_sympy(numbers))) for each in sides] == [False, False]


def test_decisions_and_their_ratio_are_bounded(model: SymbolicModel) -> None:
    numbers = _sympy(states_at(model, HERE))
    held = [
        *ratio_bound(model, at_most=1.5, at_least=1.5),
        *decision_bound(model, "prefill_chunk_tokens", at_most=2048),
        *decision_bound(model, "decode_batch_cap", at_least=128),
        *decision_bound(model, "decode_instances", at_most=2, at_least=2),
    ]
    assert all(bool(each.xreplace(numbers)) for each in held)
    broken = [*ratio_bound(model, at_most=1.4), *decision_bound(model, "decode_instances", at_least=3)]
    assert not any(bool(each.xreplace(numbers)) for each in broken)


def _sympy(numbers: dict) -> dict:
    import sympy as sp

    return {symbol: sp.Float(value) for symbol, value in numbers.items()}
