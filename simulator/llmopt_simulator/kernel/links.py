"""Flows of bytes over shared links, by processor sharing: KV transfers, loads from host memory.

A flow is set up for a latency that is constant in its queue, and then moves its bytes at the smallest fair
share of the links that it crosses: a link's bandwidth divided by its flows. Rates change only when a flow
starts or ends, so between these moments bytes fall linearly and the next completion is known exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import flow_source, link_source, pop, push, set_event
from llmopt_simulator.kernel.state import NONE, SETUPS, State

NEGLIGIBLE: Final = 1e-12
"""Share of a flow that rounding may leave over: flows that end together end at one moment."""


@inner
def setup_queue(s: State, number: int) -> int:
    """One of the FIFOs of flows in set-up."""
    return 3 * s.settings[0].ranks + 2 + number


@inner
def set_up(s: State, number: int, request: int, ends_s: float) -> None:
    """Let a flow be set up until `ends_s`, in the queue of others with the same latency."""
    s.requests[request].link_s = ends_s
    push(s, setup_queue(s, number), request)
    _schedule_setups(s)


@inner
def end_setup(s: State) -> tuple[int, int]:
    """The request whose flow has been set up, and the queue that it was in."""
    number = _first_setup(s)
    request = pop(s, setup_queue(s, number))
    _schedule_setups(s)
    return request, number


@inner
def start_flow(
    s: State, request: int, purpose: int, links: tuple[int, int], size_bytes: float, now_s: float
) -> None:
    """Put bytes of a request on their links."""
    _move(s, now_s)
    flow = s.flows[s.world[0].active]
    flow.request = request
    flow.purpose = purpose
    flow.first, flow.second = links
    flow.size_bytes = flow.left_bytes = size_bytes
    s.world[0].active += 1
    s.links[flow.first].flows += 1
    if flow.second != NONE:
        s.links[flow.second].flows += 1
    _share_links(s, now_s)


@inner
def end_flow(s: State, now_s: float) -> tuple[int, int]:
    """Take the flow that has completed off its links; its request and purpose."""
    _move(s, now_s)
    done, w = _first_to_end(s), s.world[0]
    request, purpose = s.flows[done].request, s.flows[done].purpose
    s.links[s.flows[done].first].flows -= 1
    if s.flows[done].second != NONE:
        s.links[s.flows[done].second].flows -= 1
    w.active -= 1
    _copy(s, w.active, done)
    _share_links(s, now_s)
    return request, purpose


@inner
def _copy(s: State, source: int, target: int) -> None:
    theirs, ours = s.flows[source], s.flows[target]
    ours.request = theirs.request
    ours.purpose = theirs.purpose
    ours.first = theirs.first
    ours.second = theirs.second
    ours.size_bytes = theirs.size_bytes
    ours.left_bytes = theirs.left_bytes


@inner
def _first_setup(s: State) -> int:
    """The queue whose first flow is set up next, the lower one of two; NONE when all are empty."""
    best, soonest = NONE, np.inf
    for number in range(SETUPS):
        queue = s.queues[setup_queue(s, number)]
        if queue.count > 0 and s.requests[queue.head].link_s < soonest:
            best, soonest = number, s.requests[queue.head].link_s
    return best


@inner
def _schedule_setups(s: State) -> None:
    number = _first_setup(s)
    time_s = np.inf if number == NONE else s.requests[s.queues[setup_queue(s, number)].head].link_s
    set_event(s, link_source(s), time_s)


@inner
def _move(s: State, now_s: float) -> None:
    w = s.world[0]
    for i in range(w.active):
        flow = s.flows[i]
        left = flow.left_bytes - flow.bytes_per_s * (now_s - w.moved_s)
        flow.left_bytes = left if left > NEGLIGIBLE * flow.size_bytes else 0.0
    w.moved_s = now_s


@inner
def _share_links(s: State, now_s: float) -> None:
    w = s.world[0]
    for i in range(w.active):
        flow = s.flows[i]
        flow.bytes_per_s = _share(s, flow.first)
        if flow.second != NONE:
            flow.bytes_per_s = min(flow.bytes_per_s, _share(s, flow.second))
    if w.active == 0:
        set_event(s, flow_source(s), np.inf)
    else:
        first = s.flows[_first_to_end(s)]
        set_event(s, flow_source(s), now_s + first.left_bytes / first.bytes_per_s)


@inner
def _share(s: State, link: int) -> float:
    return s.links[link].bytes_per_s / s.links[link].flows


@inner
def _first_to_end(s: State) -> int:
    """The active flow that ends next; the lower request of two that end together."""
    best, soonest = 0, np.inf
    for i in range(s.world[0].active):
        flow = s.flows[i]
        seconds = flow.left_bytes / flow.bytes_per_s
        if seconds < soonest or (seconds == soonest and flow.request < s.flows[best].request):
            best, soonest = i, seconds
    return best
