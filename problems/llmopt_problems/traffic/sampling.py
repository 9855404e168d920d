"""Requests drawn from a traffic description: conversations start, their turns are drawn, the first n kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Fault, ProblemError
from ..schema.traffic import ClosedLoop, OpenArrivals, TraceArrivals, Traffic
from .blocks import block_table, draw_prefixes
from .classes import ClassLaw, classes_of, longest_conversation_s, starts_per_request
from .processes import arrival_times, rate_per_s
from .replay import replay
from .requests import Requests, Workload
from .sessions import Streams, Turns, draw_classes, draw_pauses, draw_turns, streams_of

BLOCK_TOKENS = 16
"""Block of shared prefixes in synthetic traffic: a KV page of vLLM, and a common page size of SGLang."""

MOST_CONVERSATIONS = 10**7
"""Most conversations that may be under way at once."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sample(traffic: Traffic, count: int, seed: int, block_tokens: int = BLOCK_TOKENS) -> Workload:
    """`count` requests of `traffic`; the same seed gives the same bytes.

    Arrivals, input lengths, output lengths, prefixes, classes, turns and pauses have streams of their own:
    changing one leaves the others as they were. Conversations that began before time 0 are there with their
    later turns. A trace is replayed as it is, whatever the seed (but for times that it does not record), in
    its own blocks: its first `count` requests, or all when it has fewer. Raises ValueError for `count` below
    1, ProblemError for a bad trace.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    streams = streams_of(seed)
    if isinstance(traffic.arrivals, TraceArrivals):
        limit = min(count, traffic.arrivals.limit or count)
        return replay(traffic.arrivals.model_copy(update={"limit": limit}), streams.arrivals).workload
    classes = classes_of(traffic)
    if isinstance(traffic.arrivals, ClosedLoop):
        return _closed(traffic.arrivals, classes, count, streams, block_tokens)
    starts = starts_per_request(classes)
    drawn = _enough(traffic.arrivals, classes, starts, count, seed)
    return _open(classes, drawn, count, streams, block_tokens)


def planned_arrivals(traffic: Traffic, count: int, seed: int) -> Floats:
    """Arrival times of `count` requests of open traffic, as if answers took no time."""
    assert not isinstance(traffic.arrivals, TraceArrivals | ClosedLoop), "only open traffic has planned times"
    classes = classes_of(traffic)
    drawn = _enough(traffic.arrivals, classes, starts_per_request(classes), count, seed)
    times = drawn.start_s[drawn.turns.session] + drawn.turns.since_start_s
    return np.sort(times[times >= 0])[:count]


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Conversations and their turns."""

    class_of: Ints
    start_s: Floats
    turns: Turns


def _enough(
    arrivals: OpenArrivals, classes: Sequence[ClassLaw], starts: Sequence[float], count: int, seed: int
) -> _Drawn:
    """Conversations that give `count` requests from time 0 on, before the last of them starts.

    They begin early enough that next to none from before reaches time 0. Drawn anew, twice as many, until
    they are enough: longer draws of a stream begin as shorter ones.
    """
    lead_s = max(longest_conversation_s(each) for each in classes)
    thinning = math.fsum(starts)
    conversations = _first_guess(count, thinning, rate_per_s(arrivals) * thinning * lead_s)
    while True:
        streams = streams_of(seed)
        class_of = draw_classes(starts, conversations, streams.classes)
        start_s = arrival_times(arrivals, conversations, streams.arrivals, thinning, -lead_s)
        turns = draw_turns(classes, class_of, streams)
        times = start_s[turns.session] + turns.since_start_s
        if np.count_nonzero((times >= 0) & (times <= start_s[-1])) >= count:
            return _Drawn(class_of, start_s, turns)
        conversations *= 2


def _first_guess(count: int, thinning: float, under_way: float) -> int:
    """Conversations to draw: for `count` requests exactly where they are single, else with some to spare.

    ProblemError when far too many are under way at any time to draw them.
    """
    if under_way > MOST_CONVERSATIONS:
        what = f"up to {under_way:.0g} conversations are under way at once"
        remedy = "lower the rate, the think time or the number of turns"
        raise ProblemError(Fault(what, "conversation-many", remedy))
    if under_way == 0 and thinning == 1:
        return count
    return math.ceil(1.1 * count * thinning + under_way) + 10


def _open(
    classes: Sequence[ClassLaw], drawn: _Drawn, count: int, streams: Streams, block_tokens: int
) -> Workload:
    times = drawn.start_s[drawn.turns.session] + drawn.turns.since_start_s
    present = np.flatnonzero(times >= 0)
    order = present[np.argsort(times[present], kind="stable")][:count]
    requests = _requests(classes, drawn, order, times[order], streams, block_tokens)
    if all(each.conversation is None for each in classes):
        return Workload(requests)
    follows = _follows(drawn.turns, order)
    think_s = np.where(follows >= 0, drawn.turns.think_s[order], 0.0)
    return Workload(requests, think_s=think_s, follows=follows)


def _closed(
    loop: ClosedLoop, classes: Sequence[ClassLaw], count: int, streams: Streams, block_tokens: int
) -> Workload:
    class_of = draw_classes([each.share for each in classes], count, streams.classes)
    drawn = _Drawn(class_of, np.zeros(count), draw_turns(classes, class_of, streams))
    requests = _requests(classes, drawn, np.arange(count), np.zeros(count), streams, block_tokens)
    if loop.think_time_s == 0:
        return Workload(requests, loop.concurrency)
    think_s = draw_pauses(loop.think_time_s, loop.think_time_cv, count, streams.thinking)
    think_s[: loop.concurrency] = 0.0
    return Workload(requests, loop.concurrency, think_s)


def _requests(
    classes: Sequence[ClassLaw],
    drawn: _Drawn,
    order: Ints,
    times: Floats,
    streams: Streams,
    block_tokens: int,
) -> Requests:
    kept = drawn.turns.where(order)
    openings = np.zeros(len(drawn.class_of), np.int64)
    openings[drawn.turns.session[drawn.turns.first]] = drawn.turns.input_tokens[drawn.turns.first]
    prefixes = draw_prefixes(classes, drawn.class_of, streams.prefixes, block_tokens)
    offsets, ids = block_table(classes, kept, openings, prefixes, block_tokens)
    class_ids = kept.class_id if len(classes) > 1 else None
    return Requests(times, kept.input_tokens, kept.output_tokens, offsets, ids, block_tokens, class_ids)


def _follows(turns: Turns, order: Ints) -> Ints:
    """The index of each turn's predecessor among the kept ones, or -1."""
    place = np.full(len(turns.session) + 1, -1)
    place[order] = np.arange(len(order))
    # The turn before stands one before in the flat order; of a first turn there is none.
    return np.where(turns.first[order], -1, place[order - 1])
