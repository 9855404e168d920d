"""The event list: one entry for each source of events, ordered by (time, source).

Engines are sources 0 … E-1 (the end of their planned steps), then come flows that reach their links, the next
flow to complete, and the next arrival. A source has at most one pending event, so the list is
an indexed heap whose entries move when a source changes its mind; the source number is both priority
and sequence, which makes every order decided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import NONE, Records, State


@inner
def link_source(s: State) -> int:
    """The source of flows whose set-up ends."""
    return s.settings[0].engines


@inner
def flow_source(s: State) -> int:
    """The source of flows that complete."""
    return s.settings[0].engines + 1


@inner
def arrival_source(s: State) -> int:
    """The source of arrivals."""
    return s.settings[0].engines + 2


@inner
def set_event(s: State, source: int, time_s: float) -> None:
    """Move the event of `source` to `time_s`; infinity silences it."""
    earlier = time_s < s.sources[source].time_s
    s.sources[source].time_s = time_s
    if earlier:
        _rise(s.sources, s.sources[source].place)
    else:
        _sink(s.sources, s.sources[source].place)


@inner
def _before(sources: Records, x: int, y: int) -> bool:
    return sources[x].time_s < sources[y].time_s or (sources[x].time_s == sources[y].time_s and x < y)


@inner
def _put(sources: Records, place: int, source: int) -> None:
    sources[place].at_place = source
    sources[source].place = place


@inner
def _rise(sources: Records, place: int) -> None:
    source = sources[place].at_place
    while place > 0:
        above = (place - 1) >> 1
        if not _before(sources, source, sources[above].at_place):
            break
        _put(sources, place, sources[above].at_place)
        place = above
    _put(sources, place, source)


@inner
def _sink(sources: Records, place: int) -> None:
    source, count = sources[place].at_place, len(sources)
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if below + 1 < count and _before(sources, sources[below + 1].at_place, sources[below].at_place):
            below += 1
        if not _before(sources, sources[below].at_place, source):
            break
        _put(sources, place, sources[below].at_place)
        place = below
    _put(sources, place, source)


@inner
def push(s: State, queue: int, request: int) -> None:
    """Append a request to a FIFO."""
    q = s.queues[queue]
    s.requests[request].next = NONE
    if q.count == 0:
        q.head = request
    else:
        s.requests[q.tail].next = request
    q.tail = request
    q.count += 1


@inner
def first(s: State, queue: int) -> int:
    """The oldest request of a FIFO that is not empty."""
    return s.queues[queue].head


@inner
def pop(s: State, queue: int) -> int:
    """Take the oldest request of a FIFO that is not empty."""
    q = s.queues[queue]
    request = q.head
    q.head = s.requests[request].next
    q.count -= 1
    return request


@inner
def heap_push(heap: NDArray[np.int64], start: int, count: int, key: int) -> None:
    """Add `key` to the binary heap `heap[start:start + count]`, which grows by one."""
    place = count
    while place > 0:
        above = (place - 1) >> 1
        if heap[start + above] <= key:
            break
        heap[start + place] = heap[start + above]
        place = above
    heap[start + place] = key


@inner
def heap_pop(heap: NDArray[np.int64], start: int, count: int) -> int:
    """Take the smallest key of the binary heap `heap[start:start + count]`, which shrinks by one."""
    smallest = heap[start]
    _heap_fill(heap, start, count - 1, 0, heap[start + count - 1])
    return smallest


@inner
def heap_remove(heap: NDArray[np.int64], start: int, count: int, key: int) -> None:
    """Take a key out of the binary heap `heap[start:start + count]`, which shrinks by one."""
    place = 0
    while heap[start + place] != key:
        place += 1
    while place > 0:  # every key above is smaller, so moving them down keeps the order
        above = (place - 1) >> 1
        heap[start + place] = heap[start + above]
        place = above
    _heap_fill(heap, start, count - 1, 0, heap[start + count - 1])


@inner
def _heap_fill(heap: NDArray[np.int64], start: int, count: int, place: int, last: int) -> None:
    """Let `last` sink into the hole at `place` of a heap of `count` keys."""
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if below + 1 < count and heap[start + below + 1] < heap[start + below]:
            below += 1
        if last <= heap[start + below]:
            break
        heap[start + place] = heap[start + below]
        place = below
    heap[start + place] = last
