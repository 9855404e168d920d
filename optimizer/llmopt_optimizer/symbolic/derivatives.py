"""Derivatives of a metric as a short program, for as one expression they would be thousands of terms long.

The expression becomes a tape, one operation a step; a reverse sweep along it gives every derivative at once
(Griewank and Walther, Evaluating Derivatives, 2008, chapter 3). A state s = g(x, s) passes its adjoint to g
divided by 1 - dg/ds (implicit function theorem). Max and Min are differentiated on the side that is larger or
smaller, in equal parts at a tie; ceiling and floor are constant between their steps; a root of zero, whose
slope has no number, counts as constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from sympy import (
    Add,
    Basic,
    Dummy,
    Expr,
    Heaviside,
    Integer,
    Max,
    Min,
    Mul,
    Piecewise,
    Pow,
    Symbol,
    ceiling,
    diff,
    floor,
)
from sympy.core.relational import Relational

from llmopt_optimizer.core.lowering import compile_steps
from llmopt_optimizer.symbolic.model import SymbolicModel

Steps = tuple[tuple[Symbol, Expr], ...]
ONE = Integer(1)


@dataclass(frozen=True, slots=True)
class Gradient:
    """Derivatives of one expression: run `steps` in order, then read `derivatives`."""

    metric: str
    steps: Steps
    """Symbols and what they stand for, each in symbols before it."""
    derivatives: Mapping[Symbol, Expr]
    """By decision or frozen parameter that the metric depends on."""

    def at(self, values: Mapping[Symbol, float]) -> dict[str, float]:
        """The derivatives by name where every decision, state and frozen parameter has a number."""
        known = {symbol: np.asarray(float(value)) for symbol, value in values.items()}
        found = compile_steps(self.steps, list(self.derivatives.values()))(known, ())
        return {symbol.name: float(value) for symbol, value in zip(self.derivatives, found, strict=True)}


def gradient(model: SymbolicModel, metric: str) -> Gradient:
    """The derivatives of a metric with respect to every decision and frozen parameter it depends on.

    Decisions are taken as continuous. Raises `KeyError` for a metric that the model does not have.
    """
    sweep = _Sweep()
    adjoints = sweep.back(model.metrics[metric], ONE)
    for state in reversed(model.states):
        seed = adjoints.pop(state.symbol, None)
        if seed is not None:
            own = sweep.back(state.equation, ONE).get(state.symbol, Integer(0))
            inner = sweep.back(state.equation, seed / (1 - own))
            inner.pop(state.symbol, None)
            for symbol, value in inner.items():
                adjoints[symbol] = adjoints.get(symbol, Integer(0)) + value
    wanted = {*model.decisions, *model.frozen}
    kept = {symbol: value for symbol, value in adjoints.items() if symbol in wanted and value != 0}
    return Gradient(metric, tuple(sweep.steps), kept)


@dataclass(slots=True)
class _Sweep:
    """The tape so far: one symbol for every operation that was met."""

    steps: list[tuple[Symbol, Expr]] = field(default_factory=list)
    names: dict[Basic, Expr] = field(default_factory=dict)

    def back(self, expression: Expr, seed: Expr) -> dict[Symbol, Expr]:
        """Derivatives of `seed * expression` by its free symbols."""
        order = list(_operations(expression))
        for node in order:
            self._record(node)
        adjoints: dict[Basic, Expr] = {expression: seed}
        for node in reversed(order):
            adjoint = adjoints.pop(node, None)
            if adjoint is not None:
                named = self._named(adjoint)
                for argument, slope in self._slopes(node):
                    adjoints[argument] = adjoints.get(argument, Integer(0)) + named * slope
        return {node: value for node, value in adjoints.items() if isinstance(node, Symbol)}

    def _record(self, node: Basic) -> None:
        if node not in self.names:
            self.names[node] = self._named(self._shallow(node))

    def _shallow(self, node: Basic) -> Expr:
        """The operation on the names of its arguments, not simplified."""
        if isinstance(node, Piecewise):
            pairs = [(self._name(value), self._condition(when)) for value, when in node.args]
            return Piecewise(*pairs, evaluate=False)
        arguments = [self._name(argument) for argument in node.args]
        if isinstance(node, (Add, Mul, Pow, Max, Min)):
            return node.func(*arguments, evaluate=False)
        return node.func(*arguments)

    def _condition(self, condition: Basic) -> Basic:
        """The condition on the names of what it compares."""
        if isinstance(condition, Relational):
            return condition.func(*(self._name(side) for side in condition.args), evaluate=False)
        return condition.func(*map(self._condition, condition.args)) if condition.args else condition

    def _name(self, node: Basic) -> Expr:
        return self.names.get(node, node)

    def _named(self, value: Expr) -> Expr:
        if isinstance(value, Symbol) or value.is_number:
            return value
        name = Dummy("t", real=True)
        self.steps.append((name, value))
        return name

    def _slopes(self, node: Basic) -> Iterator[tuple[Basic, Expr]]:
        """Every argument that varies, with the derivative of the operation by it."""
        if isinstance(node, Piecewise):
            whens = [self._condition(when) for _, when in node.args]
            for index, (value, _) in enumerate(node.args):
                earlier = [(Integer(0), when) for when in whens[:index]]
                yield value, Piecewise(*earlier, (ONE, whens[index]), (Integer(0), True), evaluate=False)
        elif isinstance(node, (Max, Min)):
            sign = 1 if isinstance(node, Max) else -1
            reached = [Heaviside(sign * (self._name(each) - self.names[node])) for each in node.args]
            for argument, hit in zip(node.args, reached, strict=True):
                yield argument, hit / Add(*reached)
        elif not isinstance(node, (ceiling, floor)):
            places = [Dummy(real=True) for _ in node.args]
            plain = node.func(*places)
            back = dict(zip(places, (self._name(argument) for argument in node.args), strict=True))
            for argument, place in zip(node.args, places, strict=True):
                if argument.free_symbols:
                    yield argument, _defined(node, diff(plain, place).xreplace(back), self._name)


def _defined(node: Basic, slope: Expr, name: Callable[[Basic], Expr]) -> Expr:
    """The slope, zero for a root of zero."""
    if isinstance(node, Pow) and node.exp.is_number and node.exp < 1 and node.exp > 0:
        return Piecewise((slope, name(node.base) > 0), (Integer(0), True), evaluate=False)
    return slope


def _operations(expression: Basic) -> Iterator[Basic]:
    """Every operation inside an expression once, arguments first; conditions are looked through."""
    seen: set[Basic] = set()
    waiting = [(expression, False)]
    while waiting:
        node, opened = waiting.pop()
        if opened and isinstance(node, Expr):
            yield node
        elif not opened and node not in seen and node.args:
            seen.add(node)
            waiting.append((node, True))
            waiting.extend((argument, False) for argument in node.args)
