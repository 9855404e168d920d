"""What will happen to flows before their bytes move: a heap by (time, request, purpose).

A flow is set up for the latency of its way, which differs from way to way. A prompt whose KV is sent layer by
layer asks for a place to send it when the first layer of a step has been computed, and its last layer may be
sent when it has been set up too.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import link_source, set_event
from llmopt_simulator.kernel.state import State


@inner
def set_up(s: State, request: int, purpose: int, time_s: float) -> None:
    """Let something happen to a request's flow at `time_s`."""
    place = s.world[0].in_setup
    s.world[0].in_setup += 1
    while place > 0:
        above = (place - 1) >> 1
        if not _is_earlier(s, time_s, request, purpose, above):
            break
        _copy(s, above, place)
        place = above
    _put(s, place, time_s, request, purpose)
    _schedule(s)


@inner
def end_setup(s: State) -> tuple[int, int]:
    """Take the earliest set-up: its request and purpose."""
    request, purpose = s.setups[0].request, s.setups[0].purpose
    s.world[0].in_setup -= 1
    _sink_last(s, s.world[0].in_setup)
    _schedule(s)
    return request, purpose


@inner
def _schedule(s: State) -> None:
    set_event(s, link_source(s), s.setups[0].time_s if s.world[0].in_setup > 0 else np.inf)


@inner
def _sink_last(s: State, count: int) -> None:
    """Let the entry behind the heap of `count` entries sink into it from the root."""
    last, place = s.setups[count], 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if below + 1 < count:
            right = s.setups[below + 1]
            below += _is_earlier(s, right.time_s, right.request, right.purpose, below)
        if _is_earlier(s, last.time_s, last.request, last.purpose, below):
            break
        _copy(s, below, place)
        place = below
    _copy(s, count, place)


@inner
def _is_earlier(s: State, time_s: float, request: int, purpose: int, place: int) -> bool:
    """Whether a set-up comes before the one at `place` of the heap."""
    other = s.setups[place]
    if time_s != other.time_s:
        return bool(time_s < other.time_s)
    if request != other.request:
        return bool(request < other.request)
    return bool(purpose < other.purpose)


@inner
def _copy(s: State, source: int, target: int) -> None:
    theirs = s.setups[source]
    _put(s, target, theirs.time_s, theirs.request, theirs.purpose)


@inner
def _put(s: State, place: int, time_s: float, request: int, purpose: int) -> None:
    ours = s.setups[place]
    ours.time_s = time_s
    ours.request = request
    ours.purpose = purpose
