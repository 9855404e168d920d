"""What a step costs in a pool that has a draft: the passes of the draft, and one pass of the model.

The first pass of the draft sees the step's prefill too (it has a KV cache of its own to fill), every further
one extends each sequence by a token. The pass of the model verifies all drafts: its products see `verify`
tokens a sequence, while its attention reads the context, drafts included, once.
"""

from __future__ import annotations

from llmopt_calibration.compiled import step_seconds, step_work
from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.laws import PoolLaw
from llmopt_simulator.kernel.speculation import tokens_of_step
from llmopt_simulator.kernel.state import State


@inner
def drafted_seconds(s: State, law: PoolLaw, draft: PoolLaw, e: int, ahead: int) -> float:
    """Seconds of the step of engine `e` that is planned `ahead` decode steps after what is recorded."""
    x, context = s.engines[e], _longest_context(s, e, ahead)
    verified = context + (x.verify - 1) * x.batch
    seconds = step_seconds(
        law.step,
        law.scratch,
        x.batch,
        verified,
        x.prefill,
        x.work,
        x.tokens,
        x.heads,
        x.granules,
        x.squares,
        x.verify,
    )
    for i in range(_passes(s, e)):
        b, K, p, A, N, h, C, Q = _draft_pass(s, e, i, context)
        seconds += step_seconds(draft.step, draft.scratch, b, K, p, A, N, h, C, Q, 1)
    return seconds


@inner
def drafted_work(s: State, law: PoolLaw, draft: PoolLaw, e: int) -> tuple[float, float, float]:
    """FLOP, HBM bytes and network bytes of the step of engine `e` that is recorded next."""
    x, context = s.engines[e], _longest_context(s, e, 0)
    verified = context + (x.verify - 1) * x.batch
    flops, hbm_bytes, network_bytes = step_work(
        law.step,
        law.scratch,
        x.batch,
        verified,
        x.prefill,
        x.work,
        x.tokens,
        x.heads,
        x.granules,
        x.squares,
        x.verify,
    )
    for i in range(_passes(s, e)):
        b, K, p, A, N, h, C, Q = _draft_pass(s, e, i, context)
        more = step_work(draft.step, draft.scratch, b, K, p, A, N, h, C, Q, 1)
        flops += more[0]
        hbm_bytes += more[1]
        network_bytes += more[2]
    return flops, hbm_bytes, network_bytes


@inner
def _passes(s: State, e: int) -> int:
    """Passes of the draft in a step: one a drafted token, or one for prefill alone."""
    x = s.engines[e]
    if not x.drafts:
        return 0
    return max(x.verify - 1 if x.batch > 0 else 0, 1 if x.prefill > 0 else 0)


@inner
def _draft_pass(
    s: State, e: int, number: int, context: float
) -> tuple[int, float, int, float, int, int, float, float]:
    """The state b, K, p, A, N, h, C, Q of a pass of the draft, which sees one token of every sequence."""
    x = s.engines[e]
    grown = context + number * x.batch
    if number > 0:
        return x.batch, grown, 0, 0.0, x.decodes, x.batch, 0.0, 0.0
    tokens = x.tokens - (x.verify - 1) * x.decodes
    heads = x.heads - (x.verify - 1) * x.batch
    return x.batch, grown, x.prefill, x.work, tokens, heads, x.granules, x.squares


@inner
def _longest_context(s: State, e: int, ahead: int) -> float:
    """The largest total context of a rank, `ahead` decode steps from what is recorded."""
    engine, longest = s.engines[e], 0
    for r in range(engine.rank_start, engine.rank_stop):
        rank = s.ranks[r]
        if rank.step_decodes > 0:
            context = rank.context
            for i in range(ahead):
                context += tokens_of_step(s, r, rank.steps + i)
            longest = max(longest, context)
    return float(longest)
