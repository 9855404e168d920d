"""The life of a request: arrival, routing, prefill, transfer, decode, end; and what each change wakes.

At one moment, ends of steps come first (engines in order; in an engine rank by rank; in a rank finished
sequences in order of their number, then completed prefills in FIFO order), then transfers, then arrivals;
only then do engines that are idle and have work start their next step.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.arrivals import answered, take_arrival
from llmopt_simulator.kernel.compiling import inner, once
from llmopt_simulator.kernel.contest import change_outstanding, note_pages
from llmopt_simulator.kernel.engine import wake
from llmopt_simulator.kernel.events import first, pop, push, set_event
from llmopt_simulator.kernel.foresight import (
    come_to_wait,
    count_pages,
    note_given,
    note_step,
    waiting_requests,
)
from llmopt_simulator.kernel.growth import give_pages, settle, take_pages
from llmopt_simulator.kernel.kv_transfer import begin_transfer, end_stream, enter_links, release_last_layer
from llmopt_simulator.kernel.links import end_flow
from llmopt_simulator.kernel.prefix_cache import evict, release
from llmopt_simulator.kernel.recording import count_requests, record_latency
from llmopt_simulator.kernel.routing import choose_decode_rank, choose_rank, shortest_queue
from llmopt_simulator.kernel.running import first_to_complete, leave_running, next_completion
from llmopt_simulator.kernel.scheduler import (
    complete_prefills,
    decode_pages,
    front_pages,
    join_decode,
    most_pages,
    next_prefilled,
)
from llmopt_simulator.kernel.setups import end_setup
from llmopt_simulator.kernel.state import (
    CENTRAL_QUEUE,
    FINISHED,
    FIRST_LAYER,
    KV_TRANSFER,
    LAST_LAYER,
    NONE,
    REJECTED,
    State,
)
from llmopt_simulator.kernel.waiting import delivered_queue, loaded_queue


@once
def arrive(s: State, now_s: float) -> None:
    """Let the next request into the system, or reject it because it can never fit."""
    request = take_arrival(s)
    s.requests[request].arrival_s = now_s
    if _never_fits(s, request):
        _reject(s, request, now_s)
    elif s.settings[0].router == CENTRAL_QUEUE:
        _arrive_at_router(s, request, now_s)
    else:
        _arrive_at_rank(s, choose_rank(s, request), request, now_s)


@once
def _arrive_at_router(s: State, request: int, now_s: float) -> None:
    """Wait in the central queue; it is full only when every rank has as many as its batch holds."""
    shortest = s.ranks[shortest_queue(s)]
    if shortest.outstanding >= shortest.batch_cap and _central_queue_is_full(s):
        _turn_away(s, request, now_s)
        return
    count_requests(s, now_s, 1)
    push(s, _central_queue(s), request)
    _drain_central_queue(s, now_s)


@once
def _arrive_at_rank(s: State, r: int, request: int, now_s: float) -> None:
    if waiting_requests(s, r) >= s.settings[0].queue_limit:
        _turn_away(s, request, now_s)
        return
    count_requests(s, now_s, 1)
    _assign(s, r, request, now_s)


@inner
def _central_queue_is_full(s: State) -> bool:
    return s.queues[_central_queue(s)].count >= s.settings[0].queue_limit


@inner
def _turn_away(s: State, request: int, now_s: float) -> None:
    """Reject a request because the queue is full."""
    s.world[0].turned_away += 1
    s.requests[request].turned_away = True
    _reject(s, request, now_s)


@inner
def _reject(s: State, request: int, now_s: float) -> None:
    s.requests[request].status = REJECTED
    answered(s, request, now_s)


@once
def end_steps(s: State, e: int, now_s: float) -> None:
    """The planned steps of an engine, recorded before, or its window have ended: move its requests on."""
    engine = s.engines[e]
    set_event(s, e, np.inf)
    if engine.busy == 0:  # not a step but a window has ended
        wake(s, e, now_s)
        return
    engine.busy = 0
    note_step(s, e)
    wake(s, e, now_s)
    for r in range(engine.rank_start, engine.rank_stop):
        note_pages(s, r)
        pages, places = count_pages(s, r), _places(s, r)
        while s.ranks[r].decodes > 0 and next_completion(s, r) == 0:
            _end_decode(s, r, now_s)
        for _ in range(complete_prefills(s, r, now_s)):
            _leave_prefill(s, r, now_s)
        note_given(s, r, pages, places - _places(s, r))


@inner
def _places(s: State, r: int) -> int:
    """Places that are taken in the batch of a rank."""
    return s.ranks[r].decodes + s.queues[s.settings[0].ranks + r].count


@once
def end_set_up(s: State, now_s: float) -> None:
    """A flow may move its bytes now, or those of its last layer; or a prompt may ask where to send them."""
    request, purpose = end_setup(s)
    if purpose == FIRST_LAYER:
        _offer(s, request, now_s)
    elif purpose == LAST_LAYER:
        release_last_layer(s, request, now_s)
    else:
        enter_links(s, request, purpose, now_s)


@once
def complete_flow(s: State, now_s: float) -> None:
    """A KV transfer is complete, or a load from host memory, whose request is the next to prefill."""
    request, purpose = end_flow(s, now_s)
    if request == NONE:
        return
    if purpose == KV_TRANSFER:
        _deliver(s, request, now_s)
        return
    r = s.requests[request].rank
    s.requests[request].queued_s = now_s
    push(s, loaded_queue(s, r), request)
    wake(s, s.ranks[r].engine, now_s)


@once
def _deliver(s: State, request: int, now_s: float) -> None:
    """The first token is out, the sender's pages go, decoding may begin."""
    q = s.requests[request]
    q.first_token_s = q.token_s = now_s
    sender, receiver = q.rank, q.decode_rank
    pages = count_pages(s, sender)
    release(s, sender, request, 0)
    note_given(s, sender, pages, 0)
    note_pages(s, sender)
    s.ranks[sender].full = False
    wake(s, s.ranks[sender].engine, now_s)
    if q.output_tokens == 1:
        _finish(s, request, now_s)
    elif receiver < s.settings[0].front_ranks:
        push(s, delivered_queue(s, receiver), request)
        wake(s, s.ranks[receiver].engine, now_s)
    else:
        _wait_at(s, receiver, request, now_s)


@inner
def _central_queue(s: State) -> int:
    return 3 * s.settings[0].ranks


@inner
def _dispatch_queue(s: State) -> int:
    return 3 * s.settings[0].ranks + 1


@inner
def _never_fits(s: State, request: int) -> bool:
    """Whether a rank that a request may be sent to could never hold it: ranks of a pool are alike."""
    back, last = s.settings[0].back_start, s.settings[0].ranks - 1
    if most_pages(s, 0, request) > s.ranks[0].capacity_pages:
        return True
    if not s.settings[0].disaggregated:
        return False
    if back < s.settings[0].front_ranks and _beyond_hybrid(s, back, request):
        return True
    return decode_pages(s, last, request) > s.ranks[last].capacity_pages


@inner
def _beyond_hybrid(s: State, r: int, request: int) -> bool:
    """Whether a hybrid rank could not hold a request of its own, or one that it receives."""
    most = max(most_pages(s, r, request), decode_pages(s, r, request))
    return bool(most > s.ranks[r].capacity_pages)


@inner
def _assign(s: State, r: int, request: int, now_s: float) -> None:
    """Queue a request at a front rank."""
    s.requests[request].rank = r
    change_outstanding(s, r, 1)
    s.ranks[r].wanted_pages += front_pages(s, r, request)
    s.ranks[r].pending_tokens += s.requests[request].prompt_tokens
    _wait_at(s, r, request, now_s)


@inner
def _wait_at(s: State, r: int, request: int, now_s: float) -> None:
    """A request comes to wait at rank `r`; behind others it only matters to an engine that gathers."""
    first_of_all = come_to_wait(s, r, request, now_s)
    if first_of_all or s.engines[s.ranks[r].engine].busy == 0:
        wake(s, s.ranks[r].engine, now_s)


@inner
def _drain_central_queue(s: State, now_s: float) -> None:
    while s.queues[_central_queue(s)].count > 0:
        r = shortest_queue(s)
        if s.ranks[r].outstanding >= s.ranks[r].batch_cap:
            break
        _assign(s, r, pop(s, _central_queue(s)), now_s)


@inner
def _leave_rank(s: State, r: int, now_s: float) -> None:
    change_outstanding(s, r, -1)
    s.ranks[r].full = False
    if s.settings[0].router == CENTRAL_QUEUE:
        _drain_central_queue(s, now_s)


@once
def _leave_prefill(s: State, r: int, now_s: float) -> None:
    """Move the oldest request in prefill on: to the decode batch, to its end, or to the decode pool."""
    request = next_prefilled(s, r)
    s.world[0].prefilled += 1
    q = s.requests[request]
    if s.ranks[r].sends:
        _leave_rank(s, r, now_s)
        if q.streams:
            end_stream(s, request, now_s)
            return
        push(s, _dispatch_queue(s), request)
        _dispatch(s, now_s)
        return
    if q.retractions == 0 or np.isnan(q.first_token_s):
        q.first_token_s = now_s
    else:
        record_latency(s, now_s - q.token_s, 1)
    q.token_s = now_s
    if q.input_tokens + q.output_tokens - q.prompt_tokens > 1:
        join_decode(s, r, request)
    else:
        s.ranks[r].outputs -= q.output_tokens
        release(s, r, request, q.answer_blocks)
        _leave_rank(s, r, now_s)
        _finish(s, request, now_s)


@once
def _end_decode(s: State, r: int, now_s: float) -> None:
    request = first_to_complete(s, r)
    q, rank = s.requests[request], s.ranks[r]
    leave_running(s, r, request)
    rank.context -= q.input_tokens + q.output_tokens
    rank.outputs -= q.output_tokens
    if q.decode_rank == NONE:
        settle(s, r, request)
        release(s, r, request, q.answer_blocks)
        _leave_rank(s, r, now_s)
    _finish(s, request, now_s)


@inner
def _finish(s: State, request: int, now_s: float) -> None:
    """The last token is out."""
    q = s.requests[request]
    q.status = FINISHED
    q.finish_s = now_s
    count_requests(s, now_s, -1)
    if q.decode_rank != NONE:
        _leave_receiver(s, q.decode_rank, q.decode_pages, now_s)
    if s.settings[0].disaggregated:
        _dispatch(s, now_s)
    answered(s, request, now_s)


@inner
def _leave_receiver(s: State, r: int, pages: int, now_s: float) -> None:
    """A request that was sent to rank `r` has ended; a hybrid one may serve others of its own."""
    give_pages(s, r, pages)
    if r >= s.settings[0].front_ranks:
        change_outstanding(s, r, -1)
        return
    note_pages(s, r)
    wake(s, s.ranks[r].engine, now_s)
    _leave_rank(s, r, now_s)


@inner
def _dispatch(s: State, now_s: float) -> None:
    """Send prefilled requests, oldest first, to decode ranks that can hold them whole."""
    queue = _dispatch_queue(s)
    while s.queues[queue].count > 0:
        r = choose_decode_rank(s, first(s, queue))
        if r == NONE:
            break
        _reserve(s, pop(s, queue), r, now_s)


@once
def _offer(s: State, request: int, now_s: float) -> None:
    """Send a request while it is computed, if a decode rank has room and nobody waits for that."""
    q = s.requests[request]
    if q.streams or not np.isnan(q.prefilled_s) or s.queues[_dispatch_queue(s)].count > 0:
        return
    r = choose_decode_rank(s, request)
    if r != NONE:
        q.streams = True
        _reserve(s, request, r, now_s)


@inner
def _reserve(s: State, request: int, r: int, now_s: float) -> None:
    """Hold a decode rank's pages for all of a request, and set up the transfer of its context."""
    q = s.requests[request]
    q.decode_rank = r
    q.decode_pages = decode_pages(s, r, request)
    evict(s, r, q.decode_pages)
    note_pages(s, r)
    take_pages(s, r, q.decode_pages)
    change_outstanding(s, r, 1)
    begin_transfer(s, request, now_s)
