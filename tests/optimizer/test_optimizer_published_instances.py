"""The solver layer on published instances: it never claims what the published optimum refutes."""

from __future__ import annotations

from math import inf, isclose

import numpy as np
import pytest
from optimizer_published_instance import COST, Instance
from optimizer_published_instances import instances
from sympy import lambdify

from llmopt_optimizer.core.direct import solve_direct
from llmopt_optimizer.core.solution import SolveResult
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import solve

ALL = {instance.name: instance for instance in instances()}
QUICK = (
    "nvs03", "nvs09", "nvs10", "nvs15", "st_test1", "st_test3", "st_test5", "st_testgr1", "st_miqp2",
    "prob03", "hmittelman", "sporttournament06", "stein9",
)  # fmt: skip
OPEN = {"nvs16", "gear", "ex1263a", "autocorr_bern20-05", "autocorr_bern30-04"}
"""Instances that SCIP leaves open in the time given here."""
SECONDS = 30.0


def agrees(instance: Instance, result: SolveResult) -> None:
    """Nothing better than the published optimum is claimed, no bound is above it, a proof has its value."""
    slack = 1e-6 * max(1.0, abs(instance.optimum))
    assert result.bound <= instance.optimum + slack
    if result.assignment is not None:
        assert result.objective >= instance.optimum - slack
    if result.status is SolveStatus.OPTIMAL:
        assert isclose(result.objective, instance.optimum, rel_tol=1e-6, abs_tol=1e-9)
    assert result.status is not SolveStatus.INFEASIBLE


@pytest.mark.parametrize("name", QUICK)
def test_both_routes_prove_small_instances(name: str) -> None:
    instance = ALL[name]
    direct = solve_direct(instance.program(), None, SECONDS, check=False)
    agrees(instance, direct)
    assert direct.status is SolveStatus.OPTIMAL
    if instance.space <= 1_000_000:
        columns = solve(instance.program(), None, SECONDS)
        agrees(instance, columns)
        assert columns.status is SolveStatus.OPTIMAL


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name not in QUICK])
def test_no_wrong_claim(name: str) -> None:
    instance = ALL[name]
    direct = solve_direct(instance.program(), None, SECONDS, check=False)
    agrees(instance, direct)
    assert direct.assignment is not None
    assert name in OPEN or direct.status is SolveStatus.OPTIMAL
    if instance.space <= 1_000_000:
        agrees(instance, solve(instance.program(), None, SECONDS))


def enumerated(instance: Instance) -> float:
    """The smallest cost of all assignments, by a grid and numpy alone."""
    (variant,) = instance.program().systems[0].pools[0].variants
    symbols = [decision.symbol for decision in variant.decisions]
    formulas = [variant.attributes[COST], *(rule.expression for rule in variant.constraints)]
    grid = np.meshgrid(*(np.array(decision.values, dtype=np.float64) for decision in variant.decisions))
    cost, *rules = lambdify(symbols, formulas, "numpy", cse=True)(*grid)
    allowed = np.all([np.broadcast_to(rule, cost.shape) <= 1e-9 for rule in rules], axis=0)
    return float(np.where(allowed, cost, inf).min())


@pytest.mark.parametrize("name", [name for name, instance in ALL.items() if instance.space <= 1_000_000])
def test_the_data_are_right(name: str) -> None:
    assert isclose(enumerated(ALL[name]), ALL[name].optimum, rel_tol=1e-6, abs_tol=1e-9)
