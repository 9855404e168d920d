"""Flows of bytes over shared links, by processor sharing: KV transfers, loads from host memory.

A flow moves its bytes at the smallest fair share of the links that it crosses: a link's bandwidth divided by
its flows. Bytes that have still to be computed are held back; a flow that has sent all others goes on at the
rate at which they are computed, and its links keep its shares for it. Rates change only when a flow starts,
ends, catches up with what is computed, or when that goes on at another rate: between these moments bytes fall
linearly and the next change is known exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import flow_source, set_event
from llmopt_simulator.kernel.state import NONE, State

NEGLIGIBLE: Final = 1e-12
"""Share of a flow that rounding may leave over: flows that end together end at one moment."""


@inner
def start_flow(
    s: State,
    request: int,
    purpose: int,
    links: tuple[int, int, int, int],
    size_bytes: float,
    now_s: float,
) -> None:
    """Put bytes of a request on their links, which are to be shared anew when it is known what to `hold`."""
    move(s, now_s)
    flow = s.flows[s.world[0].active]
    flow.request = request
    flow.purpose = purpose
    flow.first, flow.second, flow.third, flow.fourth = links
    flow.size_bytes = flow.left_bytes = size_bytes
    flow.held_bytes = flow.made_per_s = 0.0
    _count_flow(s, s.world[0].active, 1)
    s.world[0].active += 1


@inner
def end_flow(s: State, now_s: float) -> tuple[int, int]:
    """The flow that changes next has changed: request and purpose of one that has completed, which leaves its
    links, or NONE for one that has caught up with what is computed.
    """
    move(s, now_s)
    w = s.world[0]
    done = _first_to_end(s)
    flow = s.flows[done]
    request, purpose = flow.request, flow.purpose
    if flow.held_bytes > 0.0:
        flow.left_bytes = flow.held_bytes
        request = NONE
    else:
        _count_flow(s, done, -1)
        w.active -= 1
        _copy(s, w.active, done)
    share_links(s, now_s)
    return request, purpose


@inner
def hold(s: State, request: int, held_bytes: float, made_per_s: float) -> None:
    """Let so many bytes of a request's KV transfer have still to be computed, if it is on its links.

    All flows must have moved up to now, and links be shared anew when all changes are made.
    """
    for i in range(s.world[0].active):
        flow = s.flows[i]
        if flow.request == request and flow.purpose == 0:
            flow.held_bytes = min(flow.left_bytes, held_bytes)
            flow.made_per_s = made_per_s


@inner
def move(s: State, now_s: float) -> None:
    """Move all flows up to now."""
    w = s.world[0]
    for i in range(w.active):
        flow = s.flows[i]
        seconds = now_s - w.moved_s
        left = flow.left_bytes - flow.bytes_per_s * seconds
        flow.left_bytes = left if left > NEGLIGIBLE * flow.size_bytes else 0.0
        flow.held_bytes = max(0.0, flow.held_bytes - flow.made_per_s * seconds)
    w.moved_s = now_s


@inner
def share_links(s: State, now_s: float) -> None:
    """Give every flow its rate, and the event list the next change of any."""
    w = s.world[0]
    soonest = np.inf
    for i in range(w.active):
        flow = s.flows[i]
        flow.bytes_per_s = _share(s, i)
        seconds = _seconds_to_change(s, i)
        if seconds < soonest or (seconds == soonest and flow.request < s.flows[w.next_flow].request):
            w.next_flow, soonest = i, seconds
    set_event(s, flow_source(s), now_s + soonest)


@inner
def _first_to_end(s: State) -> int:
    """The lowest request of those whose bytes have all moved by now, or what changes next."""
    done = NONE
    for i in range(s.world[0].active):
        if s.flows[i].left_bytes == 0.0 and (done == NONE or s.flows[i].request < s.flows[done].request):
            done = i
    return s.world[0].next_flow if done == NONE else done


@inner
def _seconds_to_change(s: State, i: int) -> float:
    """Until a flow ends or has sent all that is computed; one that has goes on at the rate of that."""
    flow = s.flows[i]
    if flow.held_bytes == 0.0:
        return flow.left_bytes / flow.bytes_per_s
    ready = flow.left_bytes - flow.held_bytes
    if ready > NEGLIGIBLE * flow.size_bytes:
        gain = flow.bytes_per_s - flow.made_per_s
        return ready / gain if gain > 0.0 else np.inf
    flow.left_bytes = flow.held_bytes
    flow.bytes_per_s = min(flow.bytes_per_s, flow.made_per_s)
    return np.inf


@inner
def _copy(s: State, source: int, target: int) -> None:
    theirs, ours = s.flows[source], s.flows[target]
    ours.request = theirs.request
    ours.purpose = theirs.purpose
    ours.first = theirs.first
    ours.second = theirs.second
    ours.third = theirs.third
    ours.fourth = theirs.fourth
    ours.size_bytes = theirs.size_bytes
    ours.left_bytes = theirs.left_bytes
    ours.held_bytes = theirs.held_bytes
    ours.made_per_s = theirs.made_per_s


@inner
def _count_flow(s: State, i: int, change: int) -> None:
    """Add a flow to the links that it crosses, or take it off them (change -1)."""
    flow = s.flows[i]
    for link in (flow.first, flow.second, flow.third, flow.fourth):
        if link != NONE:
            s.links[link].flows += change


@inner
def _share(s: State, i: int) -> float:
    """The smallest fair share of the links that a flow crosses."""
    flow, share = s.flows[i], np.inf
    for link in (flow.first, flow.second, flow.third, flow.fourth):
        if link != NONE:
            share = min(share, s.links[link].bytes_per_s / s.links[link].flows)
    return share
