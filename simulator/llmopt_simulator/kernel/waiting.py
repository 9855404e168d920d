"""Waiting queues of ranks: first come, first served, or ordered by a key.

A FIFO is a linked list. An ordered queue is a pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) through
the requests themselves: `child` and `next` sibling, the root at the queue's head. Equal keys go in order of
arrival. A retracted request goes before everything, the latest first.
"""

from __future__ import annotations

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import pop, push
from llmopt_simulator.kernel.state import NONE, State


@inner
def loaded_queue(s: State, r: int) -> int:
    """The FIFO of requests of rank `r` whose hits have come from host memory."""
    return 2 * s.settings[0].ranks + r


@inner
def delivered_queue(s: State, r: int) -> int:
    """The FIFO of requests whose KV hybrid rank `r` has received and that are to decode there."""
    return 4 * s.settings[0].ranks + 2 + r


@inner
def enqueue(s: State, r: int, request: int) -> None:
    """Let a request wait at rank `r`."""
    if not s.ranks[r].ordered:
        push(s, r, request)
        return
    queue, q = s.queues[r], s.requests[request]
    q.next = q.child = NONE
    queue.head = request if queue.count == 0 else _meld(s, queue.head, request)
    queue.count += 1


@inner
def enqueue_first(s: State, r: int, request: int) -> None:
    """Let a retracted request wait at rank `r` before all others."""
    queue, q = s.queues[r], s.requests[request]
    q.key = -s.world[0].retractions
    if s.ranks[r].ordered or queue.count == 0:
        enqueue(s, r, request)
        return
    q.next = queue.head
    queue.head = request
    queue.count += 1


@inner
def dequeue(s: State, r: int) -> int:
    """Take the first waiting request of a rank that has one."""
    if not s.ranks[r].ordered:
        return pop(s, r)
    queue = s.queues[r]
    request = queue.head
    queue.head = _meld_all(s, s.requests[request].child)
    queue.count -= 1
    return request


@inner
def _meld(s: State, x: int, y: int) -> int:
    """One heap of two; returns its root."""
    a, b = s.requests[x], s.requests[y]
    if b.key < a.key or (b.key == a.key and y < x):
        x, y = y, x
    s.requests[y].next = s.requests[x].child
    s.requests[x].child = y
    return x


@inner
def _meld_all(s: State, heap: int) -> int:
    """One heap of a list of siblings: melded in pairs from the left, then into one from the right."""
    pairs, root = NONE, NONE
    while heap != NONE:
        other = s.requests[heap].next
        rest = NONE if other == NONE else s.requests[other].next
        pair = heap if other == NONE else _meld(s, heap, other)
        s.requests[pair].next = pairs
        pairs, heap = pair, rest
    while pairs != NONE:
        rest = s.requests[pairs].next
        root = pairs if root == NONE else _meld(s, root, pairs)
        pairs = rest
    return root
