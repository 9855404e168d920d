"""How long micro-batches take through attention and experts that run on accelerators of their own.

A step is cut into m equal micro-batches. In every layer a micro-batch visits four stations in turn: the
attention accelerators for a, the links there for c, the expert accelerators for e, the links back for r
seconds. A station serves one micro-batch at a time; while one is at the experts another is at attention (ping
pong). With t = max(a, c, e, r) the slowest station and s = a + c + e + r the way of one micro-batch alone, a
layer comes round every max(m t, s): the slowest station is busy all the time, or the first micro-batch
waits for nothing. So L equal layers take

    (L − 1) max(m t, s) + (m − 1) t + s.

With m t >= s this is s + t (m L − 1), the latency of MegaScale-Infer's ping-pong pipeline (Zhu et al. 2025,
arXiv 2504.02263, section 4.1); Step-3 (StepFun 2025, arXiv 2507.19427) runs the same pipeline with three
stages. For layers of several kinds the rounds of each kind are summed, which leaves out how the last round of
one kind meets the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp


@dataclass(frozen=True, slots=True)
class Round:
    """`count` equal layers: seconds that one micro-batch spends at each of the four stations of one."""

    count: int
    attention_s: sp.Expr
    send_s: sp.Expr
    experts_s: sp.Expr
    return_s: sp.Expr

    @property
    def slowest_s(self) -> sp.Expr:
        """Seconds at the slowest station."""
        return _larger(self.attention_s, self.send_s, self.experts_s, self.return_s)

    @property
    def alone_s(self) -> sp.Expr:
        """Seconds of a micro-batch that nothing else delays."""
        return self.attention_s + self.send_s + self.experts_s + self.return_s


def ping_pong_s(rounds: Sequence[Round], micro_batches: sp.Expr) -> sp.Expr:
    """Seconds of a step of `micro_batches` through all layers, the last way back included."""
    last = rounds[-1]
    periods = [_larger(micro_batches * each.slowest_s, each.alone_s) for each in rounds]
    counts = [each.count for each in rounds[:-1]] + [last.count - 1]
    through = sp.Add(*(count * period for count, period in zip(counts, periods, strict=True)))
    return through + (micro_batches - 1) * last.slowest_s + last.alone_s


def _larger(*values: sp.Expr) -> sp.Expr:
    """Their maximum, which SymPy does not try to decide: for sums of many operators that takes it minutes."""
    return sp.Max(*values, evaluate=all(value.is_Number for value in values))
