"""How an engine steps: plan its ranks, evaluate the step law, run ahead while nothing can change.

A step that holds prefill is planned alone. A step of decodes only repeats with growing context until a
sequence ends or work arrives, so up to `RUN_STEPS` of them are planned at once and their ends kept; work that
arrives in between cuts the run after the step in progress. Steps are recorded when they have happened, so a
cut run leaves no trace. All steps of a run cost the same but for the attention over the growing context, so
what they add up to is recorded at once; only their latencies are looked at one by one.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner, once
from llmopt_simulator.kernel.contest import note_pages
from llmopt_simulator.kernel.events import pop, set_event
from llmopt_simulator.kernel.foresight import has_unseen, see_all, see_waiting, waiting_requests
from llmopt_simulator.kernel.growth import steps_with_pages, take_growth
from llmopt_simulator.kernel.kv_transfer import stream_step
from llmopt_simulator.kernel.laws import Laws, PoolLaw
from llmopt_simulator.kernel.pricing import lead_rank, plan_ends, planned_work
from llmopt_simulator.kernel.recording import (
    log_step,
    record_first_gaps,
    record_gaps,
    record_latency,
    record_steps,
)
from llmopt_simulator.kernel.running import next_completion, running_requests
from llmopt_simulator.kernel.scheduler import join_decode, may_admit_next, plan_step
from llmopt_simulator.kernel.speculation import forget_step, tokens_of_step
from llmopt_simulator.kernel.state import FAULT_OVERLAP, FAULT_STEP, RUN_STEPS, State
from llmopt_simulator.kernel.waiting import delivered_queue


@inner
def wake(s: State, e: int, now_s: float) -> None:
    """Tell an engine that work has come: an idle one may start, a running one stops after its step."""
    engine = s.engines[e]
    if engine.busy == 1:
        _cut_run(s, e, now_s)
    elif engine.ready == 0:
        engine.ready = 1
        s.ready[s.world[0].ready] = e
        s.world[0].ready += 1


@once
def start_ready(s: State, laws: Laws) -> None:
    """Start a step on every engine that was woken; those of one pipeline in their order."""
    w = s.world[0]
    if s.settings[0].pipelined:
        _order_ready(s)
    for i in range(w.ready):
        s.engines[s.ready[i]].ready = 0
        _start(s, laws, s.ready[i], w.now_s)
    w.ready = 0


@inner
def _order_ready(s: State) -> None:
    """Sort the engines that were woken; they come nearly in order."""
    for i in range(1, s.world[0].ready):
        e, place = s.ready[i], i
        while place > 0 and s.ready[place - 1] > e:
            s.ready[place] = s.ready[place - 1]
            place -= 1
        s.ready[place] = e


@once
def record_run(s: State, laws: Laws, e: int, steps: int) -> None:
    """Record the planned steps of engine `e` up to number `steps`; they have happened."""
    engine = s.engines[e]
    while engine.run_done < steps:
        alone = engine.verify > 1 or engine.drafts or s.world[0].logged < len(s.log)
        stop = engine.run_done + 1 if alone else steps
        if engine.law == 0:
            _record(s, laws.front, laws.front_draft, e, stop)
        elif engine.law == 1:
            _record(s, laws.decode, laws.decode_draft, e, stop)
        else:
            _record(s, laws.between, laws.between, e, stop)


@inner
def _record(s: State, law: PoolLaw, draft: PoolLaw, e: int, stop: int) -> None:
    """Record planned steps up to number `stop` at once; one alone where they differ or are logged."""
    engine = s.engines[e]
    first, steps = engine.run_done, stop - engine.run_done
    start_s = engine.run_start_s if first == 0 else s.run_ends_s[e, first - 1]
    end_s = s.run_ends_s[e, stop - 1]
    record_steps(s, e, steps, end_s - start_s, planned_work(s, law, draft, e, steps))
    log_step(s, e, start_s, end_s)
    if engine.decodes > 0:
        _record_latencies(s, e, first, stop, start_s)
    for r in range(engine.rank_start, engine.rank_stop):
        if s.ranks[r].step_decodes > 0:
            _decode(s, r, steps, end_s)
    engine.run_done = stop


@inner
def _record_latencies(s: State, e: int, first: int, stop: int, start_s: float) -> None:
    if s.engines[e].verify > 1:
        _record_gaps(s, e, first, s.run_ends_s[e, first] - start_s)
        return
    tokens = s.engines[e].decodes
    late = s.engines[e].run_joined if first == 0 else 0
    for i in range(first, stop):
        record_latency(s, s.run_ends_s[e, i] - start_s, tokens - late)
        start_s, late = s.run_ends_s[e, i], 0


@inner
def _record_gaps(s: State, e: int, first: int, seconds: float) -> None:
    """Record the latencies of a speculating step; those of a run's first step were when it was planned."""
    engine = s.engines[e]
    for r in range(engine.rank_start, engine.rank_stop):
        if first > 0 and s.ranks[r].step_decodes > 0:
            record_gaps(s, r, seconds)


@once
def _decode(s: State, r: int, steps: int, end_s: float) -> None:
    """Every sequence of rank `r` has `steps` tokens more, or what it drew for one step that speculates."""
    rank = s.ranks[r]
    tokens = steps * tokens_of_step(s, r, rank.steps)
    forget_step(s, r, rank.steps)
    rank.context += tokens
    rank.remaining -= tokens
    rank.steps += steps
    rank.decoded_s = end_s
    if rank.grows:
        take_growth(s, r, rank.steps)
        for _ in range(steps if rank.share > rank.share_floor else 0):
            rank.share = max(rank.share_floor, rank.share - rank.share_decay)


@inner
def steps_ended(s: State, e: int, now_s: float) -> int:
    """How many of engine `e`'s planned steps have ended by now."""
    engine = s.engines[e]
    steps = engine.run_done
    while steps < engine.run_steps and s.run_ends_s[e, steps] <= now_s:
        steps += 1
    return steps


@inner
def _cut_run(s: State, e: int, now_s: float) -> None:
    engine = s.engines[e]
    steps = engine.run_done
    while s.run_ends_s[e, steps] < now_s:
        steps += 1
    stop = steps + 1 + engine.ahead  # the step in progress, and the one that is planned already
    if stop < engine.run_steps:
        engine.run_steps = stop
        set_event(s, e, s.run_ends_s[e, stop - 1])


@once
def _start(s: State, laws: Laws, e: int, now_s: float) -> None:
    engine = s.engines[e]
    if engine.busy == 1:
        _fault(s, e, FAULT_OVERLAP)
        return
    if engine.window_s > 0.0 and _gathers(s, e, now_s):
        return
    for _ in range(2):  # with what was known when the step before began; if that is nothing, with all
        sees_all = engine.seen_s == np.inf
        if sees_all:
            see_all(s, e)
        _plan_ranks(s, e, now_s)
        engine.seen_s = np.inf
        if engine.tokens > 0 or sees_all:
            break
    see_all(s, e)
    if engine.tokens > 0:
        _plan_run(s, laws, e, now_s)


@once
def _plan_ranks(s: State, e: int, now_s: float) -> None:
    engine = s.engines[e]
    for r in range(engine.rank_start, engine.rank_stop):
        note_pages(s, r)
        if engine.ahead:
            see_waiting(s, r)
        if engine.prefills:
            _join_delivered(s, r)
            plan_step(s, r, now_s)
        else:
            _join_waiting(s, r)
    _combine_ranks(s, e)


@inner
def _gathers(s: State, e: int, now_s: float) -> bool:
    """Whether an engine that has no running request waits for more of them to start together."""
    engine, waiting, running = s.engines[e], 0, 0
    for r in range(engine.rank_start, engine.rank_stop):
        waiting += waiting_requests(s, r) + s.queues[delivered_queue(s, r)].count
        running += running_requests(s, r)
    if running > 0 or waiting == 0:
        return False
    engine.opened_s = min(engine.opened_s, now_s)
    if now_s >= engine.opened_s + engine.window_s or waiting >= engine.window_requests:
        return False
    set_event(s, e, engine.opened_s + engine.window_s)
    return True


@inner
def _join_delivered(s: State, r: int) -> None:
    """Let what a hybrid rank has received decode, before it admits anything."""
    queue = delivered_queue(s, r)
    while s.queues[queue].count > 0 and running_requests(s, r) < s.ranks[r].batch_cap:
        join_decode(s, r, pop(s, queue))


@once
def _join_waiting(s: State, r: int) -> None:
    rank = s.ranks[r]
    while s.queues[r].count > 0 and rank.decodes + rank.unseen_places < rank.batch_cap:
        join_decode(s, r, pop(s, r))
    rank.step_decodes = rank.decodes


@inner
def _combine_ranks(s: State, e: int) -> None:
    """The state that the step law sees: the slowest rank of every kind, and the tokens of all."""
    engine = s.engines[e]
    engine.batch = engine.prefill = engine.heads = engine.tokens = engine.decodes = 0
    engine.work = engine.granules = engine.squares = 0.0
    for r in range(engine.rank_start, engine.rank_stop):
        rank = s.ranks[r]
        engine.batch = max(engine.batch, rank.step_decodes)
        engine.prefill = max(engine.prefill, rank.step_tokens)
        engine.work = max(engine.work, rank.step_work)
        engine.granules = max(engine.granules, rank.step_granules)
        engine.squares = max(engine.squares, rank.step_squares)
        engine.heads = max(engine.heads, rank.step_decodes * engine.verify + rank.chunks)
        engine.tokens += rank.step_decodes * engine.verify + rank.step_tokens
        engine.decodes += rank.step_decodes


@once
def _plan_run(s: State, laws: Laws, e: int, now_s: float) -> None:
    engine = s.engines[e]
    engine.busy = 1
    engine.opened_s = np.inf
    engine.run_start_s = now_s
    engine.run_done = 0
    engine.run_steps = _steps_until_change(s, e)
    engine.lead = lead_rank(s, e, engine.run_steps)
    if engine.law == 0:
        takes_time = plan_ends(s, laws.front, laws.front_draft, e)
    elif engine.law == 1:
        takes_time = plan_ends(s, laws.decode, laws.decode_draft, e)
    else:
        takes_time = plan_ends(s, laws.between, laws.between, e)
    if not takes_time:  # no time, infinite time, or NaN beyond the tables
        _fault(s, e, FAULT_STEP)
        return
    set_event(s, e, s.run_ends_s[e, engine.run_steps - 1])
    if s.settings[0].transfer_layers > 1 and s.ranks[engine.rank_start].sends:
        stream_step(s, e, now_s)
    engine.run_joined = 0
    for r in range(engine.rank_start, engine.rank_stop):
        if s.ranks[r].step_decodes > 0 and engine.verify > 1:
            record_first_gaps(s, r, s.run_ends_s[e, 0])
        elif s.ranks[r].step_decodes > 0:
            engine.run_joined += _record_waits(s, r, now_s, s.run_ends_s[e, 0])


@inner
def _record_waits(s: State, r: int, start_s: float, end_s: float) -> int:
    """Record the latencies, in a run's first step, of sequences whose last token came before its start."""
    rank, late = s.ranks[r], 0
    request = rank.newest
    for _ in range(rank.joined):
        q = s.requests[request]
        if q.token_s < start_s:
            record_latency(s, end_s - q.token_s, 1)
            late += 1
        request = q.previous
    others = rank.step_decodes - rank.joined
    rank.joined = 0
    if others > 0 and rank.decoded_s < start_s:
        record_latency(s, end_s - rank.decoded_s, others)
        late += others
    return late


@inner
def _steps_until_change(s: State, e: int) -> int:
    engine, steps = s.engines[e], RUN_STEPS
    if engine.prefill > 0 or engine.stages > 1:
        return 1
    for r in range(engine.rank_start, engine.rank_stop):
        if (engine.prefills and may_admit_next(s, r)) or (engine.ahead and has_unseen(s, r)):
            return 1
        if s.ranks[r].step_decodes > 0:
            steps = min(steps, next_completion(s, r))
            steps = steps_with_pages(s, r, steps) if s.ranks[r].grows else steps
    return steps


@inner
def _fault(s: State, e: int, fault: int) -> None:
    s.world[0].fault = fault
    s.world[0].fault_engine = e
