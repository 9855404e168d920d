"""What is recorded while events happen: sums over steps, a latency histogram, Little's integral.

Inter-token latencies are binned by their leading bits with the number of tokens as weight, so their
percentiles need no storage a token and are within a fifth of a percent.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.speculation import (
    agenda_line,
    draw_tokens,
    produced_at_join,
    tokens_of_step,
)
from llmopt_simulator.kernel.state import (
    BATCH_S,
    BUSY_S,
    CONTEXT_TOKENS,
    DECODE_S,
    DECODE_TOKENS,
    DECODED,
    FLOPS,
    HBM_BYTES,
    ITL_BIN_BITS,
    ITL_BINS,
    ITL_FIRST_BIN,
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
def count_recomputed(s: State, request: int, tokens: int) -> None:
    """Count prefill tokens of a request that was admitted before."""
    s.requests[request].recomputed_tokens += tokens
    s.world[0].recomputed_tokens += tokens


@inner
def record_latency(s: State, seconds: float, tokens: int) -> None:
    """Record that `tokens` tokens came `seconds` after their predecessors."""
    bin_ = np.int64(np.float64(max(seconds, ITL_FLOOR_S)).view(np.int64) >> ITL_BIN_BITS) - ITL_FIRST_BIN
    s.itl[min(bin_, np.int64(ITL_BINS - 1))] += tokens
    s.world[0].itl_s += seconds * tokens
    s.world[0].itl_tokens += tokens


@inner
def record_steps(s: State, e: int, steps: int, seconds: float, work: tuple[float, float, float]) -> None:
    """Add equal steps of engine `e`, which took `seconds` and did `work` together, to its totals.

    Steps that speculate are not equal: they come one at a time.
    """
    engine, totals = s.engines[e], s.totals
    context = tokens = 0
    for r in range(engine.rank_start, engine.rank_stop):
        rank = s.ranks[r]
        if rank.step_decodes > 0:
            context += steps * rank.context + rank.decodes * (steps * (steps - 1) // 2)
            tokens += steps * tokens_of_step(s, r, rank.steps)
    totals[e, BUSY_S] += seconds
    totals[e, STEPS] += steps
    totals[e, FLOPS] += work[0]
    totals[e, HBM_BYTES] += work[1]
    totals[e, NETWORK_BYTES] += work[2]
    totals[e, DECODE_TOKENS] += tokens
    totals[e, DECODED] += steps * engine.decodes
    totals[e, PREFILL_TOKENS] += steps * prefill_tokens(s, e)
    totals[e, CONTEXT_TOKENS] += context
    totals[e, BATCH_S] += engine.decodes * seconds
    if engine.prefill > 0:
        totals[e, PREFILL_S] += seconds
    if engine.decodes > 0:
        totals[e, DECODE_S] += seconds


@inner
def prefill_tokens(s: State, e: int) -> int:
    """Prefill tokens of the planned step of engine `e`, over its ranks."""
    engine = s.engines[e]
    return engine.tokens - engine.decodes * engine.verify


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
    step.prefill_tokens = prefill_tokens(s, e)
    for r in range(engine.rank_start, engine.rank_stop):
        rank = s.ranks[r]
        if rank.step_decodes > 0:
            step.context += rank.context
            step.made += tokens_of_step(s, r, rank.steps)
        step.pages += rank.capacity_pages - rank.free_pages - rank.evictable_pages
    w.logged += 1


@inner
def record_gaps(s: State, r: int, seconds: float) -> None:
    """Record a step's latencies: n tokens that come together share the time since the one before."""
    line = agenda_line(s, r, s.ranks[r].steps)
    for tokens in range(1, s.agenda.shape[1]):
        record_latency(s, seconds / tokens, tokens * s.agenda[line, tokens])


@inner
def record_first_gaps(s: State, r: int, end_s: float) -> None:
    """The same of a run's first step: who joined before it has had the latest token at a time of its own."""
    rank, line = s.ranks[r], agenda_line(s, r, s.ranks[r].steps)
    request = rank.newest
    for _ in range(rank.joined):
        q, tokens = s.requests[request], draw_tokens(s, request, produced_at_join(s, request))
        record_latency(s, (end_s - q.token_s) / tokens, tokens)
        s.agenda[line, tokens] -= 1
        request = q.previous
    record_gaps(s, r, end_s - rank.decoded_s)
    request = rank.newest
    for _ in range(rank.joined):
        s.agenda[line, draw_tokens(s, request, produced_at_join(s, request))] += 1
        request = s.requests[request].previous
    rank.joined = 0
