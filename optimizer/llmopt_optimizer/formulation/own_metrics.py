"""Metrics that users define: from the tree of a formula to SymPy, in a program and at simulated numbers.

A formula reads the catalog's metrics, the decisions of each role, and the traffic. In a program it becomes a
metric of every system like any other; of a simulated deployment it is evaluated at the simulated metrics, its
interval by interval arithmetic, which is never too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import nan

import mpmath
from sympy import Abs, Expr, Ge, Gt, Integer, Le, Lt, Piecewise, Symbol, ceiling, exp, floor, log, sqrt

from llmopt_optimizer.core.algebra import larger, smaller, symbols_of
from llmopt_optimizer.core.exact import precise_value
from llmopt_optimizer.core.monotone import bounds
from llmopt_optimizer.core.preparation import exact_number
from llmopt_optimizer.core.program import Pool, System, Variant
from llmopt_optimizer.formulation.deployments import PREFILL_BATCH_CAP, decision_values
from llmopt_optimizer.result import Estimate
from llmopt_optimizer.symbols import FrozenSymbols, attribute_symbol, pool_symbols
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment, PoolDeployment, Role
from llmopt_problems.expressions import Constant, Formula, Reference
from llmopt_problems.schema.formula_names import DECISIONS, ROLES
from llmopt_problems.traffic import TrafficSummary

_OPERATORS: Mapping[str, Callable[..., Expr]] = {
    "+": lambda a, b: a + b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "min": smaller,
    "max": larger,
    "ceil": ceiling,
    "floor": floor,
    "abs": Abs,
    "log": log,
    "exp": exp,
    "sqrt": sqrt,
    "<": lambda a, b: Lt(a, b, evaluate=False),
    "<=": lambda a, b: Le(a, b, evaluate=False),
    ">": lambda a, b: Gt(a, b, evaluate=False),
    ">=": lambda a, b: Ge(a, b, evaluate=False),
}


def lowered(formula: Formula, names: Mapping[str, Expr]) -> Expr:
    """The SymPy expression of a formula whose names stand for `names`."""
    if isinstance(formula, Constant):
        return exact_number(formula.value)
    if isinstance(formula, Reference):
        return names[formula.name]
    operands = [lowered(operand, names) for operand in formula.operands]
    if formula.operator == "if":
        condition, value, otherwise = operands
        return Piecewise((value, condition), (otherwise, True), evaluate=False)
    if formula.operator == "-":
        return -operands[0] if len(operands) == 1 else operands[0] - operands[1]
    return _OPERATORS[formula.operator](*operands)


def with_own_metrics(system: System, problem: Problem, frozen: FrozenSymbols) -> System:
    """The system with the problem's own metrics, and the decisions that they read as attributes."""
    if not problem.metrics:
        return system
    present = tuple(role for role in ROLES if any(_plays(pool, role) for pool in system.pools))
    names: dict[str, Expr] = {**system.metrics, **_traffic_symbols(frozen), **_decision_symbols(present)}
    for definition in problem.definitions():
        names[definition.name] = lowered(definition.formula, names)
    own = {name: names[name] for name in problem.metrics}
    read = symbols_of(*own.values())
    pools = tuple(_shown(pool, present, read) for pool in system.pools)
    return replace(system, metrics={**system.metrics, **own}, pools=pools)


def _plays(pool: Pool, role: Role) -> bool:
    return attribute_symbol(role, "gpus") in pool.attributes


def _traffic_symbols(frozen: FrozenSymbols) -> dict[str, Expr]:
    return {
        "request_rate_per_s": frozen.request_rate_per_s,
        "concurrency": frozen.concurrency,
        "input_tokens": frozen.input_tokens,
        "output_tokens": frozen.decode_tokens + 1,
    }


def _decision_symbols(present: tuple[Role, ...]) -> dict[str, Expr]:
    """What stands for `decode_tp` and its like; zero for the roles that the system lacks."""
    return {
        f"{role}_{name}": attribute_symbol(role, name) if role in present else Integer(0)
        for role in ROLES
        for name in DECISIONS
    }


def _shown(pool: Pool, present: tuple[Role, ...], read: set[Symbol]) -> Pool:
    """The pool whose variants show their decisions, as far as they are read, as attributes."""

    def shown(variant: Variant) -> Variant:
        decided = {d.symbol for d in variant.decisions}
        added = {
            attribute_symbol(role, name): _decided(role, name, decided)
            for role in present
            for name in DECISIONS
            if _plays(pool, role) and attribute_symbol(role, name) in read and name != "gpus"
        }
        return replace(variant, attributes={**variant.attributes, **added})

    return Pool(pool.name, tuple(map(shown, pool.variants)))


def _decided(role: Role, name: str, decided: set[Symbol]) -> Expr:
    """The decision itself; a prefill rank holds a fixed batch, a decode rank a token a sequence."""
    symbols = pool_symbols(role)
    symbol = getattr(symbols, name)
    if symbol in decided:
        return symbol
    return Integer(PREFILL_BATCH_CAP) if name == "batch_cap" else symbols.batch_cap


def own_estimates(
    problem: Problem, traffic: TrafficSummary, deployment: Deployment, simulated: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """The problem's own metrics of a simulated deployment, with intervals that contain theirs.

    nan where a formula has no value at the simulated numbers.
    """
    known = dict(simulated) | {name: _exact(value) for name, value in _facts(traffic, deployment).items()}
    for definition in problem.definitions():
        names = {name: Symbol(name, real=True) for name in known}
        known[definition.name] = _estimated(lowered(definition.formula, names), known)
    return {name: known[name] for name in problem.metrics}


def _facts(traffic: TrafficSummary, deployment: Deployment) -> dict[str, float]:
    facts: dict[str, float] = {f"{role}_{name}": 0.0 for role in ROLES for name in DECISIONS}
    for pool in deployment.pools:
        facts |= {f"{pool.role}_{name}": value for name, value in _pool_facts(pool).items()}
    load = {
        "request_rate_per_s": traffic.request_rate_per_s,
        "concurrency": traffic.concurrency,
        "input_tokens": traffic.mean_input_tokens,
        "output_tokens": traffic.mean_output_tokens,
    }
    return facts | {name: float(value) for name, value in load.items() if value is not None}


def _pool_facts(pool: PoolDeployment) -> dict[str, float]:
    return {**decision_values(pool), "gpus": pool.gpus}


def _exact(value: float) -> Estimate:
    return Estimate(value, value, value)


def _estimated(expression: Expr, known: Mapping[str, Estimate]) -> Estimate:
    read = {symbol: known[symbol.name] for symbol in symbols_of(expression)}
    try:
        value = float(precise_value(expression, {s: mpmath.mpf(e.value) for s, e in read.items()}))
    except (ArithmeticError, ValueError, TypeError):  # such as a rate of zero that is divided by
        return _exact(nan)
    low, high = bounds(expression, {symbol: (e.low, e.high) for symbol, e in read.items()})
    return Estimate(value, min(low, value), max(high, value))
