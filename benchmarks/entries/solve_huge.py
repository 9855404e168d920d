"""More than 10^12 combinations: unlike pools, speculative decoding, precision and kernels; the certified
best.

A miniature of serving written for the core alone. A prefill and a decode pool choose accelerator, precision
and kernel (variants), and layout, instances, chunk or batch, draft tokens (decisions); they share the stock
of each accelerator. The decode step solves Little's law.
"""

from __future__ import annotations

from itertools import product

import rivals
import sympy as sp
from harness import Figure, Outcome, timed

from llmopt_optimizer.core.preparation import compile_program
from llmopt_optimizer.core.program import (
    Constraint,
    Decision,
    Limit,
    Objective,
    Pool,
    Program,
    State,
    System,
    Variant,
)
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import solve

ACCELERATORS = {
    "A": (0.99, 3.35, 2.2, 0.70),
    "B": (0.99, 4.8, 3.1, 0.70),
    "C": (2.25, 8.0, 5.2, 1.0),
    "D": (0.36, 0.86, 0.9, 0.35),
}
"""Name to PFLOP/s, TB/s, dollars an hour and kW, of data-sheet size."""
PRECISIONS = {"bf16": (1.0, 140.0, 0.0), "fp8": (1.9, 72.0, 0.4)}
"""Name to speed, GB of weights, and loss of quality in per cent."""
KERNELS = {"one": (0.55, 0.70), "two": (0.62, 0.62), "three": (0.48, 0.80)}
"""Name to efficiency of computing and of reading memory."""
RATE, INPUT, OUTPUT = 40.0, 4000.0, 500.0
STOCK = 256

TP, N, CHUNK, BATCH, DRAFT, PP = sp.symbols("tp n chunk batch draft pp", integer=True, positive=True)
STEP = sp.Symbol("step", positive=True)
SHOWN = ("usd", "kw", "loss", *(f"gpus_{name}" for name in ACCELERATORS))


def _symbols(pool: str) -> dict[str, sp.Symbol]:
    extra = ("ttft",) if pool == "prefill" else ("tpot",)
    return {name: sp.Symbol(f"{pool}_{name}", nonnegative=True) for name in (*SHOWN, *extra)}


def _shared(pool: str, accelerator: str, precision: str) -> dict[sp.Symbol, sp.Expr]:
    gpus, (_, _, usd, kw) = TP * PP * N, ACCELERATORS[accelerator]
    shown = _symbols(pool)
    counts = {shown[f"gpus_{name}"]: gpus if name == accelerator else sp.Integer(0) for name in ACCELERATORS}
    return {
        shown["usd"]: usd * gpus,
        shown["kw"]: kw * gpus,
        shown["loss"]: sp.Float(PRECISIONS[precision][2]),
    } | counts


def _prefill(accelerator: str, precision: str, kernel: str, wide: bool) -> Variant:
    pflops, _, _, _ = ACCELERATORS[accelerator]
    speed = pflops * 1e15 * PRECISIONS[precision][0] * KERNELS[kernel][0]
    chunk_s = (
        CHUNK * 1.4e11 / (speed * TP) * (1 + sp.Float(0.04) * TP) + sp.Float(3e-5) * TP + sp.Float(2e-4) * PP
    )
    service_s = sp.ceiling(INPUT / CHUNK) * chunk_s
    load = RATE * service_s / (N * PP)
    waiting_s = load ** sp.sqrt(2 * (N + 1)) / (N * sp.Max(1 - load, sp.Float(1e-3))) * service_s
    decisions = (
        Decision(TP, (1, 2, 4, 8)),
        Decision(PP, (1, 2)),
        Decision(N, tuple(range(1, 65 if wide else 9))),
        Decision(CHUNK, tuple(range(256, 256 * (65 if wide else 9), 256))),
    )
    rules = (
        Constraint("stable", load - sp.Float(0.95)),
        Constraint("weights", PRECISIONS[precision][1] / (TP * PP) - 70),
    )
    attributes = _shared("prefill", accelerator, precision) | {
        _symbols("prefill")["ttft"]: service_s + waiting_s
    }
    return Variant(f"{accelerator}/{precision}/{kernel}", decisions, attributes, (), rules)


def _decode(accelerator: str, precision: str, kernel: str, wide: bool) -> Variant:
    pflops, tbs, _, _ = ACCELERATORS[accelerator]
    bytes_per_s = tbs * 1e12 * KERNELS[kernel][1]
    speed = pflops * 1e15 * PRECISIONS[precision][0] * KERNELS[kernel][0]
    drafts = DRAFT - 1
    accepted = (1 - sp.Float(0.7) ** (drafts + 1)) / sp.Float(0.3)
    held = RATE * OUTPUT * STEP / accepted / (N * PP)
    read_s = (PRECISIONS[precision][1] * 1e9 + held * 1.6e5 * (INPUT + OUTPUT / 2)) / (bytes_per_s * TP)
    compute_s = held * (drafts + 1) * 1.4e11 / (speed * TP)
    equation = (
        sp.Max(read_s, compute_s, evaluate=False)
        + sp.Float(2e-5) * TP
        + sp.Float(1.5e-3) * drafts
        + sp.Float(1e-3)
    )
    state = State(STEP, equation, sp.Integer(0), BATCH * accepted * N * PP / (RATE * OUTPUT))
    decisions = (
        Decision(TP, (1, 2, 4, 8)),
        Decision(PP, (1, 2)),
        Decision(N, tuple(range(1, 65 if wide else 9))),
        Decision(DRAFT, tuple(range(1, 8))),
        Decision(BATCH, tuple(range(8, 8 * 33, 8))),
    )
    room = PRECISIONS[precision][1] / (TP * PP) + BATCH * sp.Float(1.6e-4) * (INPUT + OUTPUT) / TP - 76
    attributes = _shared("decode", accelerator, precision) | {_symbols("decode")["tpot"]: STEP / accepted}
    return Variant(
        f"{accelerator}/{precision}/{kernel}", decisions, attributes, (state,), (Constraint("memory", room),)
    )


def huge(wide: bool) -> Program:
    """The program; 2.2e12 assignments when wide."""
    kinds = list(product(ACCELERATORS, PRECISIONS, KERNELS))
    pools = (
        Pool("prefill", tuple(_prefill(*kind, wide) for kind in kinds)),
        Pool("decode", tuple(_decode(*kind, wide) for kind in kinds)),
    )
    first, second = _symbols("prefill"), _symbols("decode")
    metrics = {
        "usd": first["usd"] + second["usd"],
        "kw": first["kw"] + second["kw"],
        "ttft": first["ttft"] + second["tpot"],
        "tpot": second["tpot"],
        "loss": sp.Max(first["loss"], second["loss"], evaluate=False),
    }
    stock = tuple(
        Constraint(f"stock {name}", first[f"gpus_{name}"] + second[f"gpus_{name}"] - STOCK, "stock")
        for name in ACCELERATORS
    )
    limits = (Limit("ttft", "at_most", 0.8), Limit("tpot", "at_most", 0.02), Limit("kw", "at_most", 150.0))
    return Program((System("pair", pools, metrics, stock),), (Objective("usd"),), limits)


def run(smoke: bool) -> Outcome:
    """The cheapest pair, certified; then the other ways."""
    program, building = timed("expressions", lambda: huge(not smoke))
    compiled, compiling = timed("compile", lambda: compile_program(program))
    answer, solving = timed("solve", lambda: solve(program, compiled))
    if answer.status is not SolveStatus.OPTIMAL or not all(check.passed for check in answer.checks):
        raise RuntimeError(f"no certified optimum: {answer}")
    phases = (building, compiling, solving)
    seconds = sum(phase.wall_s for phase in phases)
    evolved = rivals.nsga2(program, compiled, 2 if smoke else 30)
    scip_s, proved = rivals.direct_scip(program, 2 if smoke else 60)
    brute_s = rivals.brute_force_seconds(program, compiled, 2_000 if smoke else 200_000)
    figures = (
        Figure("seconds", seconds, "s", brute_s),
        Figure("cpu_seconds", sum(phase.cpu_s for phase in phases), "s"),
        Figure("combinations", float(program.size), "assignments"),
        Figure("usd_per_hour", answer.objective, "$/h", float(evolved[:, 0].min()) if len(evolved) else None),
        Figure("scip_seconds", scip_s, "s"),
        Figure("scip_proved", float(proved), "of 1"),
    )
    return Outcome(figures, phases)
