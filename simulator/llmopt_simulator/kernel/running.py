"""The decode batch of a rank: a completion heap, and a list of its sequences by when they joined.

Decode sequences are never touched one by one. A rank keeps their number, the sum of their contexts, and a
heap of the decode step at which each one ends; a step adds the number to the sum. The list is for what
asks for the newest ones: their first latency, and retraction.
"""

from __future__ import annotations

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import heap_pop, heap_push, heap_remove
from llmopt_simulator.kernel.speculation import enter, steps_to_end
from llmopt_simulator.kernel.state import NONE, State

_REQUEST_BITS = 31


@inner
def join_running(s: State, r: int, request: int) -> None:
    """Add a request that has its latest token, and wants more, to the decode batch of a rank."""
    q, rank = s.requests[request], s.ranks[r]
    q.begins = rank.steps
    q.ends = rank.steps + steps_to_end(s, r, request)
    enter(s, r, request, q.begins, 1)
    heap_push(s.completions, rank.heap, rank.decodes, _key(s, request))
    rank.decodes += 1
    rank.joined += 1
    rank.context += q.prompt_tokens + 1
    rank.peak_batch = max(rank.peak_batch, rank.decodes)
    q.previous = rank.newest
    q.next = NONE
    if rank.newest != NONE:
        s.requests[rank.newest].next = request
    rank.newest = request


@inner
def running_requests(s: State, r: int) -> int:
    """Requests that hold pages of rank `r`: decodes, in prefill, or awaiting their hits."""
    return s.ranks[r].decodes + s.queues[s.settings[0].ranks + r].count + s.ranks[r].loading


@inner
def leave_running(s: State, r: int, request: int) -> None:
    """Take a sequence out of the decode batch: the next to end, or any."""
    q, rank = s.requests[request], s.ranks[r]
    if first_to_complete(s, r) == request:
        heap_pop(s.completions, rank.heap, rank.decodes)
    else:
        heap_remove(s.completions, rank.heap, rank.decodes, _key(s, request))
    rank.decodes -= 1
    rank.joined = max(0, rank.joined - 1) if request == rank.newest else rank.joined
    if q.previous != NONE:
        s.requests[q.previous].next = q.next
    if q.next != NONE:
        s.requests[q.next].previous = q.previous
    else:
        rank.newest = q.previous


@inner
def next_completion(s: State, r: int) -> int:
    """Decode steps until a sequence of rank `r` ends; the rank has one."""
    return (s.completions[s.ranks[r].heap] >> _REQUEST_BITS) - s.ranks[r].steps


@inner
def first_to_complete(s: State, r: int) -> int:
    """The request of rank `r` that ends next."""
    return s.completions[s.ranks[r].heap] & ((1 << _REQUEST_BITS) - 1)


@inner
def _key(s: State, request: int) -> int:
    return (s.requests[request].ends << _REQUEST_BITS) | request
