"""The expressions of metrics as one DAG: equal parts are one node, whatever metric they come from.

A state (an unknown that solves an equation of its own) is a leaf where it is read and a root where its
equation stands, so that the graph has no circle. Numbers are written into the operation that uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from sympy import Add, Basic, Expr, Mul, Pow, Symbol
from sympy.core.relational import Relational

from llmopt_optimizer.core.lowering import compile_expressions
from llmopt_optimizer.graphs.graph import Edge, Graph, Kind, Node
from llmopt_optimizer.symbolic.model import SymbolicModel

SIGNS = {
    **{"Add": "+", "Mul": "×", "Max": "max", "Min": "min", "Piecewise": "if"},
    **{"ceiling": "⌈ ⌉", "floor": "⌊ ⌋"},
}


def expression_graph(
    model: SymbolicModel,
    metrics: Sequence[str],
    values: Mapping[Symbol, float] | None = None,
    depth: int | None = None,
) -> Graph:
    """The expressions of `metrics`, and of the states that they read, as one graph.

    `values` (every decision, state and frozen parameter, as `states_at` gives them) puts numbers on nodes.
    Below `depth` operations an expression is cut to one node that says how many operations it stands for.
    Raises `KeyError` for a metric that the model does not have.
    """
    roots = {name: model.metrics[name] for name in metrics}
    read = {symbol for root in roots.values() for symbol in root.free_symbols}
    for state in reversed(model.states):
        if state.symbol in read:
            roots[f"{state.symbol.name} solves"] = state.equation
            read |= state.equation.free_symbols
    shown = _shown(roots.values(), depth)
    keys = {expression: f"n{index}" for index, expression in enumerate(shown)}
    numbers = _numbers([*shown], values)
    tops = [Node(f"m{i}", name, "metric", numbers.get(each)) for i, (name, each) in enumerate(roots.items())]
    nodes = [_node(model, each, keys[each], numbers.get(each), cut) for each, cut in shown.items()]
    edges = [Edge(f"m{i}", keys[each]) for i, each in enumerate(roots.values())]
    for each, cut in shown.items():
        edges += [] if cut else [Edge(keys[each], keys[part]) for part in _parts(each)]
    return Graph(", ".join(metrics), (*tops, *nodes), tuple(edges))


def shared_parts(graph: Graph) -> list[tuple[Node, int]]:
    """Operations that are used more than once, with how often, the most used first."""
    uses = graph.uses()
    found = [(node, uses[node.key]) for node in graph.nodes if node.kind in ("operation", "cut")]
    return sorted((pair for pair in found if pair[1] > 1), key=lambda pair: -pair[1])


def _shown(roots: Iterable[Expr], depth: int | None) -> dict[Expr, bool]:
    """Every part that is drawn, users before what they use; true for those cut off."""
    levels: dict[Expr, int] = {}
    layer = list(dict.fromkeys(roots))
    level = 0
    while layer:
        for each in layer:
            levels[each] = level  # the longest way down decides, so users come first
        cut = depth is not None and level >= depth
        layer = [] if cut else list(dict.fromkeys(part for each in layer for part in _parts(each)))
        level += 1
    ordered = sorted(levels, key=levels.__getitem__)
    return {each: depth is not None and levels[each] >= depth and bool(_parts(each)) for each in ordered}


def _parts(expression: Basic) -> tuple[Expr, ...]:
    """What an operation is made of, numbers left out and conditions looked through, each once."""
    return tuple(dict.fromkeys(_flat(expression)))


def _flat(expression: Basic) -> Iterator[Expr]:
    for argument in expression.args:
        if isinstance(argument, Expr) and not isinstance(argument, Relational):
            if not argument.is_number:
                yield argument
        else:
            yield from _flat(argument)


def _node(model: SymbolicModel, expression: Expr, key: str, value: float | None, cut: bool) -> Node:
    if isinstance(expression, Symbol):
        return Node(key, expression.name, _symbol_kind(model, expression), value)
    if cut:
        count = sum(1 for _ in _below(expression))
        return Node(key, f"… {count} operations", "cut", value)
    return Node(key, _label(expression), "operation", value)


def _symbol_kind(model: SymbolicModel, symbol: Symbol) -> Kind:
    if symbol in model.decisions:
        return "decision"
    return "frozen" if symbol in model.frozen else "state"


def _below(expression: Expr) -> Iterator[Expr]:
    seen: set[Expr] = set()
    waiting = [expression]
    while waiting:
        each = waiting.pop()
        if each not in seen and each.args:
            seen.add(each)
            yield each
            waiting.extend(_parts(each))


def _label(expression: Expr) -> str:
    """The operation with its numbers: `+ 0.002`, `× 2`, `1 /`, `^ 0.5`, `max 1`."""
    numbers = [argument for argument in expression.args if isinstance(argument, Expr) and argument.is_number]
    shown = " ".join(f"{float(number):.4g}" for number in numbers)
    if isinstance(expression, Pow):
        return {"-1": "1 /", "0.5": "√"}.get(shown, f"^ {shown}")
    if isinstance(expression, Mul) and shown == "-1":
        return "−"
    name = type(expression).__name__
    sign = "+" if isinstance(expression, Add) else SIGNS.get(name, name)
    return f"{sign} {shown}".strip()


def _numbers(expressions: list[Expr], values: Mapping[Symbol, float] | None) -> dict[Expr, float]:
    if values is None:
        return {}
    known = {symbol: np.asarray(float(value)) for symbol, value in values.items()}
    found = compile_expressions(expressions)(known, ())
    return {each: float(value) for each, value in zip(expressions, found, strict=True)}
