"""The other ways to answer a program, for comparison: brute force, NSGA-II (pymoo) and direct MINLP (SCIP).

NSGA-II and brute force evaluate the same compiled expressions that the columns come from, on assignments of
their own choice; nothing is pruned for them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.core.direct import solve_direct
from llmopt_optimizer.core.lowering import Floats, Function, compile_expressions
from llmopt_optimizer.core.preparation import CompiledProgram
from llmopt_optimizer.core.program import Program
from llmopt_optimizer.core.translation.scope import NotTranslatable

Codes = NDArray[np.int64]
INFEASIBLE = 1e30


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Objectives of any joint assignments of one system, by position of each pool's row."""

    program: Program
    compiled: CompiledProgram
    system: int
    metrics: Function

    def costs(self, codes: list[Codes]) -> Floats:
        """Signed objectives [assignments, objectives] of rows of each pool; `INFEASIBLE` where there is
        none.
        """
        count = len(codes[0])
        known = {s: np.asarray(v, dtype=np.float64) for s, v in self.program.parameters.items()}
        feasible = np.ones(count, dtype=np.bool_)
        for pool, code in zip(self.compiled.pools[self.system], codes, strict=True):
            found, arrays = _rows(pool, code, self.program)
            known |= arrays
            feasible &= found
        values = self.metrics(known, (count,))
        width = len(self.program.objectives)
        costs = [o.sign * value for o, value in zip(self.program.objectives, values, strict=False)]
        for limit, value in zip(self.program.limits, values[width:], strict=False):
            feasible &= limit.sign * (value - limit.value) <= 1e-9 * abs(limit.value)
        for excess in values[width + len(self.program.limits) :]:
            feasible &= excess <= 1e-9
        stacked = np.stack(costs, axis=1)
        return np.where((feasible & np.isfinite(stacked).all(axis=1))[:, None], stacked, INFEASIBLE)


def evaluator(program: Program, compiled: CompiledProgram, system: int) -> Evaluator:
    """Compile a system's objectives, limits and constraints as they are written."""
    of = program.systems[system]
    names = [o.metric for o in program.objectives] + [limit.metric for limit in program.limits]
    expressions = [of.metrics[name] for name in names] + [c.expression for c in of.constraints]
    return Evaluator(program, compiled, system, compile_expressions(expressions))


def _rows(pool: Any, code: Codes, program: Program) -> tuple[NDArray[np.bool_], dict[Any, Floats]]:
    """Which rows of a pool are feasible, and their attributes; variants follow one another."""
    found = np.zeros(len(code), dtype=np.bool_)
    arrays = {symbol: np.full(len(code), np.nan) for symbol in pool.pool.attributes}
    first = 0
    for variant in pool.variants:
        mine = np.flatnonzero((code >= first) & (code < first + variant.variant.size))
        distinct, group = np.unique(code[mine] - first, return_inverse=True)
        block = variant.at(distinct, program.parameters)
        place = np.full(len(distinct), -1)
        place[np.searchsorted(distinct, block.code)] = np.arange(len(block))
        row = place[group]
        found[mine] = row >= 0
        for symbol in arrays:
            if len(block):
                arrays[symbol][mine] = np.where(row >= 0, block.column(symbol)[np.maximum(row, 0)], np.nan)
        first += variant.variant.size
    return found, arrays


def brute_force_seconds(program: Program, compiled: CompiledProgram, sample: int) -> float:
    """Seconds to evaluate every joint assignment one array at a time, from the rate on a random sample."""
    random = np.random.default_rng(1)
    seconds = 0.0
    for index, system in enumerate(program.systems):
        judge = evaluator(program, compiled, index)
        codes = [random.integers(0, pool.size, sample) for pool in system.pools]
        judge.costs([code[:100] for code in codes])
        start = time.perf_counter()
        judge.costs(codes)
        seconds += (time.perf_counter() - start) / sample * system.size
    return seconds


def nsga2(program: Program, compiled: CompiledProgram, seconds: float, population: int = 100) -> Floats:
    """Costs of the nondominated assignments that NSGA-II finds in so many seconds, shared by the systems."""
    core, algorithms = import_module("pymoo.core.problem"), import_module("pymoo.algorithms.moo.nsga2")
    minimize, termination = (import_module(f"pymoo.{name}") for name in ("optimize", "termination"))
    found = []
    for index, system in enumerate(program.systems):
        judge, sizes = evaluator(program, compiled, index), _axes(system)

        class Assignments(core.Problem):  # type: ignore[misc, name-defined]
            def __init__(self, sizes: list[list[int]] = sizes) -> None:
                count = sum(map(len, sizes))
                super().__init__(n_var=count, n_obj=len(program.objectives), xl=0.0, xu=1.0)
                self.sizes = sizes

            def _evaluate(
                self, x: Floats, out: dict[str, Any], *_: Any, judge: Any = judge, **__: Any
            ) -> None:
                out["F"] = judge.costs(_codes(x, self.sizes))

        end = termination.get_termination("time", max(1, int(seconds / len(program.systems))))
        result = minimize.minimize(Assignments(), algorithms.NSGA2(pop_size=population), end, seed=1)
        found.append(np.atleast_2d(result.F))
    costs = np.concatenate(found)
    return costs[costs[:, 0] < INFEASIBLE]


def _axes(system: Any) -> list[list[int]]:
    """Of each pool: the number of variants, then the largest domain of each decision."""
    found = []
    for pool in system.pools:
        widest = max(pool.variants, key=lambda variant: len(variant.decisions))
        found.append([len(pool.variants), *(len(decision.values) for decision in widest.decisions)])
    return found


def _codes(x: Floats, sizes: list[list[int]]) -> list[Codes]:
    codes, column = [], 0
    for of_pool in sizes:
        code = np.zeros(len(x), dtype=np.int64)
        for size in of_pool:
            code = code * size + np.minimum((x[:, column] * size).astype(np.int64), size - 1)
            column += 1
        codes.append(code)
    return codes


def direct_scip(program: Program, seconds: float) -> tuple[float, bool]:
    """Seconds that SCIP took on the expressions for the first objective, and whether it proved its answer."""
    start = time.perf_counter()
    try:
        answer = solve_direct(program, None, seconds, check=False)
    except NotTranslatable:
        return time.perf_counter() - start, False
    return time.perf_counter() - start, answer.status == "optimal"


def shared(found: Floats, front: Floats) -> int:
    """How many points of a front are among the found costs."""
    if not len(found):
        return 0
    close = np.abs(found[:, None] - front[None]) <= 1e-9 * np.abs(front[None])
    return int(np.any(np.all(close, axis=2), axis=0).sum())
