"""When the planned steps of an engine end, and what work they do, by the step law of its pool.

All steps of a run cost the same but for the attention over the growing context.
"""

from __future__ import annotations

import numpy as np

from llmopt_calibration.compiled import decode_seconds, fixed_seconds, step_work
from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.drafting import drafted_seconds, drafted_work
from llmopt_simulator.kernel.laws import PoolLaw
from llmopt_simulator.kernel.state import NONE, State


@inner
def plan_ends(s: State, law: PoolLaw, draft: PoolLaw, e: int) -> bool:
    """Plan when each step of a run ends; False if one has no duration."""
    x, step, scratch = s.engines[e], law.step, law.scratch
    if x.verify > 1 or x.drafts:
        return _plan_drafted_ends(s, law, draft, e)
    context = _context(s, e, 0.0) if x.batch > 0 else 0.0
    fixed_s = fixed_seconds(
        step, scratch, x.batch, context, x.prefill, x.work, x.tokens, x.heads, x.granules, x.squares, x.verify
    )
    end_s = x.run_start_s
    for i in range(x.run_steps):
        seconds = fixed_s
        if x.batch > 0:
            seconds += decode_seconds(step, scratch, x.batch, _context(s, e, float(i)))
        seconds = max(seconds, x.overhead_s) if x.overlapped else seconds + x.overhead_s
        if not (end_s < end_s + seconds < np.inf):  # NaN, endless, or too short to move the clock
            return False
        end_s = _end_of_step(s, e, end_s, seconds)
        s.run_ends_s[e, i] = end_s
    return True


@inner
def _end_of_step(s: State, e: int, start_s: float, seconds: float) -> float:
    """When a step of `seconds` ends that starts at `start_s`: it passes the stages of its pipeline in turn.

    A stage takes an equal part of the step and serves the batches of its instance as they were planned, so a
    batch waits behind the one before it wherever that one is slower.
    """
    x = s.engines[e]
    if x.stages == 1:
        return start_s + seconds
    end_s, part_s = start_s, seconds / x.stages
    for i in range(x.first_stage, x.first_stage + x.stages):
        end_s = max(end_s, s.stages_s[i]) + part_s
        s.stages_s[i] = end_s
    return end_s


@inner
def _plan_drafted_ends(s: State, law: PoolLaw, draft: PoolLaw, e: int) -> bool:
    """The same where there is a draft."""
    x = s.engines[e]
    end_s = x.run_start_s
    for i in range(x.run_steps):
        seconds = drafted_seconds(s, law, draft, e, i)
        seconds = max(seconds, x.overhead_s) if x.overlapped else seconds + x.overhead_s
        if not (end_s < end_s + seconds < np.inf):
            return False
        end_s = _end_of_step(s, e, end_s, seconds)
        s.run_ends_s[e, i] = end_s
    return True


@inner
def lead_rank(s: State, e: int, steps: int) -> int:
    """The rank that has the longest context in all of `steps` decode steps, NONE if that changes.

    Contexts grow along lines, so the rank that leads in the first and in the last step leads between them.
    """
    engine = s.engines[e]
    if engine.rank_stop - engine.rank_start == 1:
        return engine.rank_start
    first = _longest(s, e, 0.0)
    return first if first == _longest(s, e, steps - 1.0) else NONE


@inner
def _longest(s: State, e: int, ahead: float) -> int:
    """The first rank with the longest context `ahead` decode steps from what is recorded."""
    engine, longest, best = s.engines[e], -1.0, s.engines[e].rank_start
    for r in range(engine.rank_start, engine.rank_stop):
        context = s.ranks[r].context + ahead * s.ranks[r].decodes
        if s.ranks[r].step_decodes > 0 and context > longest:
            longest, best = context, r
    return best


@inner
def _context(s: State, e: int, ahead: float) -> float:
    """The largest total context of a rank, `ahead` decode steps from what is recorded."""
    lead = s.engines[e].lead
    lead = _longest(s, e, ahead) if lead == NONE else lead
    return s.ranks[lead].context + ahead * s.ranks[lead].decodes


@inner
def planned_work(s: State, law: PoolLaw, draft: PoolLaw, e: int, steps: int) -> tuple[float, float, float]:
    """FLOP and bytes of the next planned steps; of a line, its value at the mean times their number."""
    x, scratch = s.engines[e], law.scratch
    if x.verify > 1 or x.drafts:
        return drafted_work(s, law, draft, e)
    terms = 1 if x.lead != NONE and law.step.linear_work else steps
    flops = hbm_bytes = network_bytes = 0.0
    for i in range(terms):
        context = _context(s, e, i + 0.5 * (steps / terms - 1.0)) if x.batch > 0 else 0.0
        work = step_work(
            law.step,
            scratch,
            x.batch,
            context,
            x.prefill,
            x.work,
            x.tokens,
            x.heads,
            x.granules,
            x.squares,
            x.verify,
        )
        flops += work[0]
        hbm_bytes += work[1]
        network_bytes += work[2]
    equal = steps / terms
    return equal * flops, equal * hbm_bytes, equal * network_bytes
