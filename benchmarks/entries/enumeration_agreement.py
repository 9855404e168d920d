"""Random small programs: the columns route with HiGHS against brute force written here, without its code."""

from __future__ import annotations

import itertools
import math

import numpy as np
import sympy as sp
from harness import Figure, Outcome, timed

from llmopt_optimizer.core.program import Decision, Limit, Objective, Pool, Program, System, Variant
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import solve

PROGRAMS = 200
TIGHT = 1e-9
"""Relative difference of two optima that still agree."""


def _pool(name: str, random: np.random.Generator) -> Pool:
    """Two integer decisions; a cost and a delay that pull in opposite directions."""
    x, y = sp.symbols(f"{name}_x {name}_y", integer=True, positive=True)
    cost, delay = sp.symbols(f"{name}_cost {name}_delay", real=True)
    weights = random.uniform(0.5, 2.0, 5)
    domains = [tuple(sorted({int(v) for v in random.integers(1, 30, 5)})) for _ in range(2)]
    attributes = {
        cost: weights[0] * x + weights[1] * y + weights[2] * sp.Max(x - y, 0),
        delay: 10 * weights[3] / x + weights[4] * sp.sqrt(y) / x + 1 / y,
    }
    return Pool(name, (Variant("only", (Decision(x, domains[0]), Decision(y, domains[1])), attributes),))


def _program(seed: int) -> Program:
    """Two pools coupled by a sum and a maximum, under two limits that are sometimes too tight."""
    random = np.random.default_rng(seed)
    pools = (_pool("first", random), _pool("second", random))
    (cost_1, delay_1), (cost_2, delay_2) = (pool.attributes for pool in pools)
    metrics = {"cost": cost_1 + cost_2, "delay": sp.Max(delay_1, delay_2), "spread": cost_1 - cost_2}
    limits = (
        Limit("delay", "at_most", float(random.uniform(0.3, 4.0))),
        Limit("spread", "at_least", float(random.uniform(-20.0, 20.0))),
    )
    return Program((System("both", pools, metrics),), (Objective("cost"),), limits)


def _brute_force(program: Program) -> float:
    """The least cost by trying everything, in plain Python; infinite when nothing is feasible."""
    system = program.systems[0]
    symbols = [symbol for pool in system.pools for symbol in pool.attributes]
    metrics = sp.lambdify(symbols, [system.metrics[name] for name in ("cost", "delay", "spread")], "math")
    best = math.inf
    for first, second in itertools.product(*map(_rows, system.pools)):
        cost, delay, spread = metrics(*first, *second)
        at_most, at_least = (limit.value for limit in program.limits)
        if delay <= at_most + TIGHT * abs(at_most) and spread >= at_least - TIGHT * abs(at_least):
            best = min(best, cost)
    return best


def _rows(pool: Pool) -> list[list[float]]:
    """Attribute values of every choice of a pool, one at a time."""
    variant = pool.variants[0]
    symbols = [decision.symbol for decision in variant.decisions]
    attributes = sp.lambdify(symbols, list(variant.attributes.values()), "math")
    return [attributes(*values) for values in itertools.product(*(each.values for each in variant.decisions))]


def _solved(program: Program) -> float:
    """The certified optimum of the columns route; nan for any answer that is not final."""
    answer = solve(program)
    if answer.status is SolveStatus.INFEASIBLE:
        return math.inf
    return answer.objective if answer.status is SolveStatus.OPTIMAL else math.nan


def run(smoke: bool) -> Outcome:
    """Solve every program both ways and count the agreements; infeasible must mean infeasible."""
    programs = [_program(seed) for seed in range(10 if smoke else PROGRAMS)]
    found, solving = timed("solve", lambda: [_solved(program) for program in programs])
    true, enumerating = timed("brute_force", lambda: [_brute_force(program) for program in programs])
    agreed = sum(math.isclose(mine, best, rel_tol=TIGHT) for mine, best in zip(found, true, strict=True))
    figures = (
        Figure("agreements", agreed, "programs", float(len(programs))),
        Figure("infeasible", sum(map(math.isinf, true)), "programs"),
        Figure(
            "seconds_per_program", solving.wall_s / len(programs), "s", enumerating.wall_s / len(programs)
        ),
    )
    return Outcome(figures, (solving, enumerating))
