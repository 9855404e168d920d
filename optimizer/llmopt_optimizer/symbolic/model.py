"""A serving mode on chosen accelerators as plain mathematics.

A `SymbolicModel` is decisions with their domains, frozen parameters with their numbers, states (unknowns
that solve an equation of their own, as the batch that a load implies), constraints `expression <= 0`, and
every metric as one expression of all these. It is the optimizer's own program with the parts of its pools
put in, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sympy import Basic, Expr, Symbol

from llmopt_optimizer.core.algebra import substituted
from llmopt_optimizer.core.lowering import Floats, compile_expressions, terms_magnitude
from llmopt_optimizer.core.program import TOLERANCE, Constraint, Number, Pool, Program, State, System, Variant
from llmopt_optimizer.core.states import only_roots, smallest_roots
from llmopt_optimizer.formulation.build import build_program
from llmopt_optimizer.frozen import Frozen, starting_frozen
from llmopt_optimizer.result import FrozenParameter
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Mode


@dataclass(frozen=True, slots=True)
class SymbolicModel:
    """One mode of a problem on one choice of accelerators."""

    mode: Mode
    variants: Mapping[str, str]
    """Accelerator of each pool of the program, by pool."""
    decisions: Mapping[Symbol, tuple[Number, ...]]
    states: tuple[State, ...]
    metrics: Mapping[str, Expr]
    """By metric name, SI units as the name says."""
    constraints: tuple[Constraint, ...]
    """`expression <= 0`; memory and traffic carry a label, rules of the engine none."""
    frozen: Mapping[Symbol, FrozenParameter]
    program: Program
    """The same as a program of the core: one system, one variant a pool, no objective and no limit."""

    def symbol(self, name: str) -> Symbol:
        """The decision, state or frozen symbol of that name; `KeyError` with the known names otherwise."""
        known = {s.name: s for s in (*self.decisions, *(state.symbol for state in self.states), *self.frozen)}
        if name not in known:
            raise KeyError(f"no symbol {name!r}; there are {', '.join(sorted(known))}")
        return known[name]


def symbolic_model(
    problem: Problem,
    mode: Mode,
    accelerators: Mapping[str, str] | None = None,
    frozen: Iterable[FrozenParameter] = (),
) -> SymbolicModel:
    """The model of `problem` in one mode, its frozen parameters as the traffic gives them.

    `frozen` replaces parameters of the same name: `answer.result.frozen` gives those that a solve measured.

    `accelerators` names one for each pool (`serve`; `prefill` and `decode`; `both` as `A+B` in a closed
    loop); a pool left out takes the first that the problem offers. Raises `ValueError` for a mode that the
    problem does not search and for a pool or accelerator that it does not have.
    """
    scenario = resolve(problem)
    known = starting_frozen(scenario)
    given = {record.name: record for record in frozen}
    known = known.measured({s: given[s.name] for s in known.records if s.name in given})
    return model_of(build_program(scenario, known), known, mode, accelerators or {})


def model_of(program: Program, frozen: Frozen, mode: Mode, accelerators: Mapping[str, str]) -> SymbolicModel:
    """The model of one mode of a program that is built already; otherwise as `symbolic_model`."""
    systems = {system.name: system for system in program.systems}
    if mode not in systems:
        raise ValueError(f"the problem searches {', '.join(systems)}, not {mode}")
    chosen = _chosen(systems[mode], dict(accelerators))
    return _assembled(mode, systems[mode], chosen, frozen)


def _chosen(system: System, wanted: dict[str, str]) -> dict[str, Variant]:
    chosen = {pool.name: _variant(pool, wanted.pop(pool.name, None)) for pool in system.pools}
    if wanted:
        raise ValueError(f"no pool {', '.join(wanted)}: the pools are {', '.join(chosen)}")
    return chosen


def _variant(pool: Pool, name: str | None) -> Variant:
    for variant in pool.variants:
        if name in (None, variant.name):
            return variant
    offered = ", ".join(variant.name for variant in pool.variants)
    raise ValueError(f"pool {pool.name} can be {offered}, not {name}")


def _assembled(mode: Mode, system: System, chosen: Mapping[str, Variant], frozen: Frozen) -> SymbolicModel:
    attributes: dict[Symbol, Basic] = {}
    for variant in chosen.values():
        attributes |= variant.attributes
    done: dict[Basic, Basic] = {}
    own = [constraint for variant in chosen.values() for constraint in variant.constraints]
    shared = [
        Constraint(each.name, _expression(each.expression, attributes, done), each.label)
        for each in system.constraints
    ]
    return SymbolicModel(
        mode=mode,
        variants={name: variant.name for name, variant in chosen.items()},
        decisions={d.symbol: d.values for variant in chosen.values() for d in variant.decisions},
        states=tuple(state for variant in chosen.values() for state in variant.states),
        metrics={name: _expression(e, attributes, done) for name, e in system.metrics.items()},
        constraints=(*own, *shared),
        frozen=frozen.records,
        program=Program((replace(system, pools=_only(chosen)),), (), parameters=frozen.parameters()),
    )


def _only(chosen: Mapping[str, Variant]) -> tuple[Pool, ...]:
    return tuple(Pool(name, (variant,)) for name, variant in chosen.items())


def _expression(expression: Expr, names: Mapping[Symbol, Basic], done: dict[Basic, Basic]) -> Expr:
    return substituted(expression, names, done)


def frozen_table(model: SymbolicModel) -> pd.DataFrame:
    """The frozen parameters: name, value, interval, unit, meaning and source, one row each."""
    columns = [column.name for column in fields(FrozenParameter)]
    rows = [[getattr(each, column) for column in columns] for each in model.frozen.values()]
    return pd.DataFrame(rows, columns=columns)


def evaluate(
    model: SymbolicModel, metrics: Iterable[str], values: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.float64]]:
    """Metrics at points: `values` gives every decision by name, and any frozen parameter to change.

    Arrays are broadcast against each other. The result also has `feasible`: 1 where every constraint holds
    and every state has a root. Raises `KeyError` for an unknown name, `ValueError` for a decision left out.
    """
    names = list(metrics)
    known, shape = _points(model, values)
    for state in model.states:
        known[state.symbol] = _root(state, known, shape)
    compiled = compile_expressions([model.metrics[name] for name in names])
    found = dict(zip(names, compiled(known, shape), strict=True))
    return found | {"feasible": _feasible(model, known, shape)}


def states_at(model: SymbolicModel, values: Mapping[str, float]) -> dict[Symbol, float]:
    """Every decision, frozen parameter and state at one point: what `Gradient.at` and `Expr.subs` read."""
    known, shape = _points(model, values)
    for state in model.states:
        known[state.symbol] = _root(state, known, shape)
    return {symbol: float(array[0]) for symbol, array in known.items()}


def _points(
    model: SymbolicModel, values: Mapping[str, ArrayLike]
) -> tuple[dict[Symbol, Floats], tuple[int, ...]]:
    given = {model.symbol(name): np.asarray(value, dtype=np.float64) for name, value in values.items()}
    missing = [symbol.name for symbol in model.decisions if symbol not in given]
    if missing:
        raise ValueError(f"no value for the decisions {', '.join(missing)}")
    shape = np.broadcast_shapes((1,), *(array.shape for array in given.values()))
    numbers = {symbol: np.asarray(each.value) for symbol, each in model.frozen.items()}
    return {s: np.broadcast_to(a, shape) for s, a in (numbers | given).items()}, shape


def _root(state: State, known: Mapping[Symbol, Floats], shape: tuple[int, ...]) -> Floats:
    lower, upper = compile_expressions((state.lower, state.upper))(known, shape)
    equation = compile_expressions((state.equation,))
    flat = {symbol: np.ravel(array) for symbol, array in known.items()}

    def image(x: Floats, rows: NDArray[np.intp]) -> Floats:
        there = {symbol: array[rows] for symbol, array in flat.items()}
        return equation(there | {state.symbol: x}, x.shape)[0]

    solve: Callable[[], Floats] = (
        (lambda: smallest_roots(image, np.ravel(lower), np.ravel(upper), state.symbol.name))
        if state.increasing
        else (lambda: only_roots(image, np.ravel(lower), np.ravel(upper)))
    )
    return solve().reshape(shape)


def _feasible(model: SymbolicModel, known: Mapping[Symbol, Floats], shape: tuple[int, ...]) -> Floats:
    holds = np.ones(shape, np.bool_)
    for state in model.states:
        holds &= np.isfinite(known[state.symbol])
    expressions = [each.expression for each in model.constraints]
    excess = compile_expressions(expressions)(known, shape)
    scales = compile_expressions([terms_magnitude(each) for each in expressions])(known, shape)
    for value, scale in zip(excess, scales, strict=True):
        holds &= value <= TOLERANCE * scale
    return holds.astype(np.float64)
