"""Metrics as LaTeX: shared parts named first, so that lines stay readable."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr, Symbol, cse, latex, numbered_symbols

from llmopt_optimizer.symbolic.model import SymbolicModel


def latex_text(model: SymbolicModel, metrics: Sequence[str]) -> str:
    r"""An `align*` with one line for every shared part, state and metric.

    The parts are named $t_0$, $t_1$, …; a state stands before its equation, which it solves. Raises
    `KeyError` for a metric that the model does not have.
    """
    left = {name: model.metrics[name] for name in metrics}
    read = {symbol for each in left.values() for symbol in each.free_symbols}
    states = [state for state in model.states if state.symbol in read]
    expressions: list[Expr] = [*(state.equation for state in states), *left.values()]
    parts, found = cse(expressions, symbols=numbered_symbols("t"), order="none")
    names = {symbol: _name(symbol) for each in expressions for symbol in each.free_symbols}
    titles = [*(_name(state.symbol) for state in states), *(_word(name) for name in left)]
    lines = [f"{latex(symbol)} &= {latex(part, symbol_names=names)}" for symbol, part in parts]
    lines += [
        f"{title} &= {latex(each, symbol_names=names)}" for title, each in zip(titles, found, strict=True)
    ]
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}\n"


def _name(symbol: Symbol) -> str:
    return _word(str(symbol.name))


def _word(name: str) -> str:
    escaped = name.replace("_", r"\_")
    return rf"\mathrm{{{escaped}}}"
