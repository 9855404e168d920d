"""Planning ahead: a step is planned when the one before begins, and knows what was known then.

Engines that overlap scheduling launch step k and plan step k + 1 at once, while k runs. So the plan of k + 1
holds the decodes and prompts that k carries on, but no request that has come since k began, and neither place
nor page that was given back since. When nothing is left to plan, the engine looks again at the end of k.

The kernel plans a step when it begins, from what it knows then, less what came too late. Late requests
wait in a queue of their own until they may be seen; pages and places given back are counted until the next
plan. Other engines see everything.
"""

from __future__ import annotations

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import pop, push
from llmopt_simulator.kernel.state import NONE, State
from llmopt_simulator.kernel.waiting import enqueue, loaded_queue


@inner
def late_queue(s: State, r: int) -> int:
    """The FIFO of requests that rank `r` has not seen."""
    return 3 * s.settings[0].ranks + 2 + r


@inner
def come_to_wait(s: State, r: int, request: int, now_s: float) -> bool:
    """Let a request wait at rank `r`; whether it may be the next to be served."""
    s.requests[request].queued_s = now_s
    if s.engines[s.ranks[r].engine].ahead:
        push(s, late_queue(s, r), request)
        return True
    enqueue(s, r, request)
    if s.queues[r].head != request:
        return False
    s.ranks[r].full = False
    return True


@inner
def waiting_requests(s: State, r: int) -> int:
    """Requests that wait at rank `r`, seen or not."""
    return s.queues[r].count + s.queues[late_queue(s, r)].count


@inner
def is_seen(s: State, r: int, request: int) -> bool:
    """Whether the next plan of rank `r` knows that a request has come."""
    return bool(s.requests[request].queued_s <= s.engines[s.ranks[r].engine].seen_s)


@inner
def see_waiting(s: State, r: int) -> None:
    """Let the requests of rank `r` wait in its queue that may be seen."""
    late, queue = late_queue(s, r), s.queues[r]
    first = queue.head if queue.count > 0 else NONE
    while s.queues[late].count > 0 and is_seen(s, r, s.queues[late].head):
        enqueue(s, r, pop(s, late))
    if queue.count > 0 and queue.head != first:
        s.ranks[r].full = False


@inner
def has_unseen(s: State, r: int) -> bool:
    """Whether requests have come to rank `r` that the step after the planned one may take."""
    queue = 0 if s.engines[s.ranks[r].engine].prefills else s.queues[r].count
    room = s.ranks[r].decodes < s.ranks[r].batch_cap
    return s.queues[late_queue(s, r)].count + s.queues[loaded_queue(s, r)].count > 0 or (queue > 0 and room)


@inner
def note_step(s: State, e: int) -> None:
    """Remember when the step of engine `e` began that has ended: the next one was planned then."""
    engine = s.engines[e]
    if engine.ahead:
        last = engine.run_steps - 1
        engine.seen_s = engine.run_start_s if last == 0 else s.run_ends_s[e, last - 1]


@inner
def see_all(s: State, e: int) -> None:
    """Let engine `e` plan with all pages and places that are there now."""
    engine = s.engines[e]
    for r in range(engine.rank_start, engine.rank_stop):
        s.ranks[r].unseen_pages = s.ranks[r].unseen_places = 0


@inner
def count_pages(s: State, r: int) -> int:
    """Pages that rank `r` could give to a request."""
    return s.ranks[r].free_pages + s.ranks[r].evictable_pages


@inner
def note_given(s: State, r: int, before: int, places: int) -> None:
    """Count what rank `r` could give beyond `before` pages, and places in its batch, as not seen yet."""
    if s.engines[s.ranks[r].engine].ahead:
        s.ranks[r].unseen_pages += count_pages(s, r) - before
        s.ranks[r].unseen_places += places
