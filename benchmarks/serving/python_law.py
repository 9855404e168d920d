"""A compiled step law as a Python function: its tables as lists, its attention through `sympy.lambdify`."""

from __future__ import annotations

import sympy as sp

from llmopt_calibration.compiled import SECONDS, CompiledStep
from llmopt_calibration.step import StepLaw
from serving.plain_loop import StepSeconds


def python_law(law: StepLaw, step: CompiledStep) -> StepSeconds:
    """Seconds of a step with state b, K, p, A, N, h."""
    s = law.symbols
    rank, engine, heads = (
        table[:, SECONDS].tolist() for table in (step.rank_tokens, step.engine_tokens, step.heads)
    )
    constant = float(step.constant[SECONDS])
    decode, prefill = (
        sp.lambdify(
            arguments, sp.Add(*(o.seconds for o in law.operators if o.sees == sees)), "math", cse=True
        )
        for sees, arguments in (("decode", (s.b, s.K)), ("prefill", (s.p, s.A)))
    )

    def seconds(b: int, K: int, p: int, A: float, N: int, h: int) -> float:
        total = constant + (rank[b + p] + engine[N] + heads[h])
        total += prefill(p, A) if p else 0.0
        return float(total + decode(b, K) if b else total)

    return seconds
