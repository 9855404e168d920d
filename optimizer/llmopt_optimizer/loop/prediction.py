"""Every metric that the expressions predict for one deployment, in floating point.

The program that is optimised carries only the metrics that objectives and limits read; here the full
program is compiled once and evaluated at single assignments, for reports and for comparing prediction with
simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from sympy import Symbol

from llmopt_optimizer.core.columns import CompiledPool, compile_pool
from llmopt_optimizer.core.lowering import Floats, Function, compile_expressions
from llmopt_optimizer.core.program import Assignment, Choice, Decision, Program, Variant


@dataclass(frozen=True, slots=True)
class _CompiledMetrics:
    names: tuple[str, ...]
    function: Function


@dataclass(frozen=True, slots=True)
class Predictor:
    """The compiled expressions of all metrics, by system."""

    program: Program
    pools: Mapping[tuple[str, str], CompiledPool]
    metrics: Mapping[str, _CompiledMetrics]

    def at(self, assignment: Assignment, parameters: Mapping[Symbol, float]) -> dict[str, float]:
        """Every metric of the assignment by name; empty when the expressions find it infeasible."""
        known: dict[Symbol, Floats] = {s: np.asarray(v, dtype=np.float64) for s, v in parameters.items()}
        for choice in assignment.choices:
            columns = _single(self.pools[assignment.system, choice.pool], choice).tabulate(parameters)
            if len(columns) == 0:
                return {}
            known |= columns.attributes
        compiled = self.metrics[assignment.system]
        values = compiled.function(known, (1,))
        return {name: float(value[0]) for name, value in zip(compiled.names, values, strict=True)}


def predictor(program: Program) -> Predictor:
    """Compile every metric of `program`."""
    return Predictor(
        program=program,
        pools={(s.name, pool.name): compile_pool(pool) for s in program.systems for pool in s.pools},
        metrics={
            s.name: _CompiledMetrics(tuple(s.metrics), compile_expressions(s.metrics.values()))
            for s in program.systems
        },
    )


def _single(pool: CompiledPool, choice: Choice) -> CompiledPool:
    """The pool with one row: the chosen value of every decision of the chosen variant."""
    values = dict(choice.values)

    def fixed(variant: Variant) -> Variant:
        decisions = tuple(Decision(d.symbol, (values[d.symbol.name],)) for d in variant.decisions)
        return replace(variant, decisions=decisions)

    chosen = next(compiled for compiled in pool.variants if compiled.variant.name == choice.variant)
    only = replace(chosen, variant=fixed(chosen.variant))
    return CompiledPool(replace(pool.pool, variants=(only.variant,)), (only,))
