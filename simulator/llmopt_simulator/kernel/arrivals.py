"""Which request arrives next: those in sequence at their own times, and those that wait for an answer.

An open loop has a sequence of requests that wait for nothing. A request that follows another (the next turn
of a conversation) arrives when that one's answer has ended and its user has thought. In a closed loop there
is no sequence: the user whose answer has ended takes the next request that nobody has taken, and thinks.
Whoever thinks is in a heap by (time, request), and the earlier of heap and sequence is the next arrival; at
one moment the lower request comes first. A request that is rejected has been answered at once.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import arrival_source, set_event
from llmopt_simulator.kernel.state import NONE, State


@inner
def take_arrival(s: State) -> int:
    """The request that arrives now."""
    w = s.world[0]
    w.arrived += 1
    if _thinker_is_next(s):
        request = _pop_thinker(s)
    else:
        request = w.called
        w.called += 1
        while w.called < len(s.turns) and s.turns[w.called].follows != NONE:
            w.called += 1
    _schedule(s)
    return request


@inner
def answered(s: State, request: int, now_s: float) -> None:
    """The answer to a request has ended, or it was rejected: those who waited for that begin to think."""
    w = s.world[0]
    if s.settings[0].closed_loop:
        if w.called < len(s.requests):
            _push_thinker(s, w.called, now_s)
            w.called += 1
            _schedule(s)
    elif len(s.turns) > 0:
        follower = s.turns[request].follower
        while follower != NONE:
            _push_thinker(s, follower, now_s)
            follower = s.turns[follower].sibling
        _schedule(s)


@inner
def is_pause(s: State, pause_at: int) -> bool:
    """Whether a run that pauses before request `pause_at` pauses before the next arrival.

    Requests of a closed loop are counted as they arrive. In an open loop those that follow others have no
    time of their own, so a pause is before a request of the sequence.
    """
    w = s.world[0]
    if s.settings[0].closed_loop:
        return w.arrived == pause_at
    return w.called >= pause_at and not _thinker_is_next(s)


@inner
def _sequence_s(s: State) -> float:
    w = s.world[0]
    if s.settings[0].closed_loop or w.called >= len(s.requests):
        return np.inf
    return s.requests[w.called].arrival_s


@inner
def _thinker_is_next(s: State) -> bool:
    w = s.world[0]
    if w.thinking == 0:
        return False
    thinker, sequence_s = s.thinkers[0], _sequence_s(s)
    return thinker.time_s < sequence_s or (thinker.time_s == sequence_s and thinker.request < w.called)


@inner
def _schedule(s: State) -> None:
    time_s = s.thinkers[0].time_s if _thinker_is_next(s) else _sequence_s(s)
    set_event(s, arrival_source(s), time_s)


@inner
def _earlier(s: State, time_s: float, request: int, place: int) -> bool:
    """Whether a thinker comes before the one at `place` of the heap."""
    other = s.thinkers[place]
    return time_s < other.time_s or (time_s == other.time_s and request < other.request)


@inner
def _put(s: State, place: int, time_s: float, request: int) -> None:
    s.thinkers[place].time_s = time_s
    s.thinkers[place].request = request


@inner
def _push_thinker(s: State, request: int, now_s: float) -> None:
    w = s.world[0]
    time_s = now_s + s.think_s[request] if len(s.think_s) > 0 else now_s
    place = w.thinking
    w.thinking += 1
    while place > 0:
        above = (place - 1) >> 1
        if not _earlier(s, time_s, request, above):
            break
        _put(s, place, s.thinkers[above].time_s, s.thinkers[above].request)
        place = above
    _put(s, place, time_s, request)


@inner
def _pop_thinker(s: State) -> int:
    w = s.world[0]
    request = s.thinkers[0].request
    w.thinking -= 1
    last_s, last = s.thinkers[w.thinking].time_s, s.thinkers[w.thinking].request
    place = 0
    while True:
        below = 2 * place + 1
        if below >= w.thinking:
            break
        right = s.thinkers[min(below + 1, w.thinking - 1)]
        if _earlier(s, right.time_s, right.request, below):
            below += 1
        if _earlier(s, last_s, last, below):
            break
        _put(s, place, s.thinkers[below].time_s, s.thinkers[below].request)
        place = below
    _put(s, place, last_s, last)
    return request
