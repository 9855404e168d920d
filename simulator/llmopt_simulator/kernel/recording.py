"""What is recorded while events happen: sums over steps, a latency histogram, Little's integral.

Inter-token latencies are binned by their logarithm with the number of tokens as weight, so their
percentiles need no storage a token and are within a quarter of a percent.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import (
    BATCH_S,
    BUSY_S,
    CONTEXT_TOKENS,
    DECODE_S,
    DECODE_TOKENS,
    FLOPS,
    HBM_BYTES,
    ITL_BINS,
    ITL_BINS_PER_E,
    ITL_FLOOR_S,
    NETWORK_BYTES,
    PREFILL_S,
    PREFILL_TOKENS,
    STEPS,
    State,
)


@inner
def count_requests(s: State, now_s: float, change: int) -> None:
    """Integrate the number of requests in the system up to now, then change it."""
    w = s.world[0]
    w.request_s += w.in_system * (now_s - w.counted_s)
    w.counted_s = now_s
    w.in_system += change


@inner
def record_latency(s: State, seconds: float, tokens: int) -> None:
    """Record that `tokens` tokens came `seconds` after their predecessors."""
    if tokens == 0:
        return
    bin_ = int(np.log(max(seconds, ITL_FLOOR_S) / ITL_FLOOR_S) * ITL_BINS_PER_E)
    s.itl[min(bin_, ITL_BINS - 1)] += tokens
    s.world[0].itl_s += seconds * tokens
    s.world[0].itl_tokens += tokens


@inner
def record_step(s: State, e: int, seconds: float, work: tuple[float, float, float]) -> None:
    """Add a step of engine `e` to its totals."""
    engine, totals = s.engines[e], s.totals[e]
    context = 0
    for r in range(engine.rank_start, engine.rank_stop):
        context += s.ranks[r].context if s.ranks[r].step_decodes > 0 else 0
    totals[BUSY_S] += seconds
    totals[STEPS] += 1.0
    totals[FLOPS] += work[0]
    totals[HBM_BYTES] += work[1]
    totals[NETWORK_BYTES] += work[2]
    totals[DECODE_TOKENS] += engine.decodes
    totals[PREFILL_TOKENS] += engine.tokens - engine.decodes
    totals[CONTEXT_TOKENS] += context
    totals[BATCH_S] += engine.decodes * seconds
    if engine.tokens > engine.decodes:
        totals[PREFILL_S] += seconds
    if engine.decodes > 0:
        totals[DECODE_S] += seconds


@inner
def log_step(s: State, e: int, start_s: float, end_s: float) -> None:
    """Write a step of engine `e` to the log while there is room."""
    w, engine = s.world[0], s.engines[e]
    if w.logged >= len(s.log):
        return
    step = s.log[w.logged]
    step.engine = e
    step.start_s = start_s
    step.end_s = end_s
    step.decodes = engine.decodes
    step.prefill_tokens = engine.tokens - engine.decodes
    for r in range(engine.rank_start, engine.rank_stop):
        rank = s.ranks[r]
        step.context += rank.context if rank.step_decodes > 0 else 0
        step.pages += rank.capacity_pages - rank.free_pages - rank.evictable_pages
    w.logged += 1
