"""Tabulating a pool: every configuration with its states and attributes, vectorised against a Python loop."""

from __future__ import annotations

import itertools
import time

import sympy as sp
from harness import Figure, Outcome, timed

from llmopt_optimizer.core.columns import compile_pool
from llmopt_optimizer.core.program import Constraint, Decision, Pool, State, Variant

TP, N, CHUNK, BATCH = sp.symbols("tp n chunk batch", integer=True, positive=True)
STEP, GPUS, LATENCY, RATE = sp.symbols("step gpus latency rate", positive=True)
LOAD = sp.Symbol("load", positive=True)


def _equation() -> sp.Expr:
    """A step whose batch grows with its own length, as Little's law has it."""
    held = sp.Min(BATCH, LOAD * STEP * 40 / N)
    return 4e-3 / TP + 2e-4 * sp.sqrt(1 + held) / TP + CHUNK * 3e-6 / TP + 1e-5 * sp.log(1 + TP)


def _variant(largest: int) -> Variant:
    decisions = (
        Decision(TP, (1, 2, 4, 8)),
        Decision(N, tuple(range(1, largest + 1))),
        Decision(CHUNK, tuple(range(256, 256 + 128 * 32, 128))),
        Decision(BATCH, tuple(range(8, 8 + 8 * 32, 8))),
    )
    attributes = {GPUS: TP * N, LATENCY: STEP + CHUNK * 1e-6, RATE: BATCH * N / STEP}
    state = State(STEP, _equation(), sp.Integer(0), sp.Integer(10))
    return Variant("only", decisions, attributes, (state,), (Constraint("fits", TP * N - 1024),))


def _looped(variant: Variant, load: float, rows: int) -> float:
    """Rows a second of a plain loop: the same expressions as Python functions, the state by iteration."""
    symbols = [decision.symbol for decision in variant.decisions]
    step = sp.lambdify([*symbols, STEP, LOAD], variant.states[0].equation, "math")
    fits = sp.lambdify(symbols, variant.constraints[0].expression, "math")
    attributes = sp.lambdify([*symbols, STEP], list(variant.attributes.values()), "math")
    product = itertools.product(*(decision.values for decision in variant.decisions))
    start = time.perf_counter()
    table = []
    for values in itertools.islice(product, rows):
        if fits(*values) <= 0:
            root = 0.0
            while abs((following := step(*values, root, load)) - root) > 1e-12 * following:
                root = following
            table.append(attributes(*values, root))
    return rows / (time.perf_counter() - start)


def run(smoke: bool) -> Outcome:
    """Tabulate one pool of 4 × instances × 32 × 32 configurations."""
    variant = _variant(8 if smoke else 256)
    compiled, compiling = timed("compile", lambda: compile_pool(Pool("pool", (variant,))))
    columns, tabulating = timed("tabulate", lambda: compiled.tabulate({LOAD: 100.0}))
    if not len(columns):
        raise RuntimeError("the pool is empty: nothing was measured")
    ours = variant.size / tabulating.wall_s
    naive = _looped(variant, 100.0, 500 if smoke else 20_000)
    return Outcome((Figure("rows_per_s", ours, "1/s", naive),), (compiling, tabulating))
