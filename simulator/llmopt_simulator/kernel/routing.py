"""Which rank a request goes to; ties go to the lowest index.

The router sees workers: front ranks, or whole instances that give their requests to their ranks in turn or by
their load.
Random draws one, round robin takes turns. Shortest queue counts requests routed to a worker and not done
there; power of two takes the shorter queue of two drawn workers. Cache-aware is SGLang's router: when queues
are out of balance, the shortest one; else the worker whose approximate tree has most of the input, if that is
enough; else the one with the smallest tree (`router_trees`). KV-aware knows what ranks really cache, from
their KV events, and takes the rank with the most free cache where no prefix is long enough. With a central
queue, requests wait at the router until a rank has a free place in its batch.

A prefilled request goes to a decode or hybrid rank with room for all of it, chosen by a policy of its own.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner, once
from llmopt_simulator.kernel.contest import LONGEST, SHORTEST, SHORTEST_DECODE, SMALLEST, champion, emptiest
from llmopt_simulator.kernel.distance import distance
from llmopt_simulator.kernel.growth import take_started
from llmopt_simulator.kernel.holders import is_candidate, longest_held
from llmopt_simulator.kernel.prefix_cache import matched_blocks
from llmopt_simulator.kernel.router_trees import evict_trees, longest_match, remember, touch
from llmopt_simulator.kernel.scheduler import decode_pages, hit_limit
from llmopt_simulator.kernel.speculation import tokens_of_step
from llmopt_simulator.kernel.state import (
    CACHE_AWARE,
    KV_AWARE,
    NEAREST,
    NONE,
    POWER_OF_TWO,
    RANDOM,
    ROUND_ROBIN,
    SHORTEST_QUEUE,
    State,
)


@once
def choose_rank(s: State, request: int) -> int:
    """The rank of the front pool that a request is routed to."""
    if s.settings[0].router == KV_AWARE:
        return _kv_aware(s, request)
    worker = s.workers[_choose_worker(s, request)]
    if s.settings[0].dp_balance != ROUND_ROBIN:
        return _least_loaded(s, worker.rank_start, worker.ranks)
    rank = worker.rank_start + worker.turn
    worker.turn = (worker.turn + 1) % worker.ranks
    return rank


@once
def _least_loaded(s: State, start: int, ranks: int) -> int:
    """Of the ranks of an instance, the first with the fewest requests or tokens."""
    best, least = start, _load(s, start)
    for r in range(start + 1, start + ranks):
        load = _load(s, r)
        if load < least:
            best, least = r, load
    return best


@inner
def _load(s: State, r: int) -> int:
    """Requests of a rank, or their tokens: those of decode steps that have ended but are not recorded too."""
    rank = s.ranks[r]
    if s.settings[0].dp_balance == SHORTEST_QUEUE:
        return int(rank.outstanding)
    engine, tokens = s.engines[rank.engine], rank.pending_tokens + rank.context
    if engine.busy == 1 and rank.step_decodes > 0:
        step = engine.run_done
        while step < engine.run_steps and s.run_ends_s[rank.engine, step] <= s.world[0].now_s:
            tokens += tokens_of_step(s, r, rank.steps + step - engine.run_done)
            step += 1
    return int(tokens)


@once
def _choose_worker(s: State, request: int) -> int:
    workers, router = len(s.workers), s.settings[0].router
    if router == ROUND_ROBIN:
        s.world[0].turn += 1
        return (s.world[0].turn - 1) % workers
    if router == RANDOM:
        return _draw(s, workers)
    if router == POWER_OF_TWO:
        first, second = _draw(s, workers), _draw(s, workers)
        return second if s.workers[second].load < s.workers[first].load else first
    if router == CACHE_AWARE:
        return _cache_aware(s, request)
    return champion(s, SHORTEST)


@once
def _cache_aware(s: State, request: int) -> int:
    evict_trees(s, s.world[0].now_s)
    worker = champion(s, SHORTEST)
    if not _out_of_balance(s):
        worker, blocks = longest_match(s, request)
        touch(s, request, worker, blocks)
        if not _is_enough(s, request, blocks):
            worker = champion(s, SMALLEST)
    remember(s, request, worker)
    return worker


@inner
def _out_of_balance(s: State) -> bool:
    least, most = s.workers[champion(s, SHORTEST)].load, s.workers[champion(s, LONGEST)].load
    return most - least > s.settings[0].balance_abs and most > s.settings[0].balance_rel * least


@inner
def _is_enough(s: State, request: int, blocks: int) -> bool:
    """Whether a prefix of so many blocks is worth to be followed."""
    tokens = blocks * s.settings[0].block_tokens
    return tokens > s.settings[0].cache_threshold * s.requests[request].input_tokens


@inner
def shortest_queue(s: State) -> int:
    """The rank of the front pool with the fewest outstanding requests, where the router sees ranks."""
    return champion(s, SHORTEST)


@inner
def choose_decode_rank(s: State, request: int) -> int:
    """A decode rank with enough free pages for all of a request, or NONE."""
    policy, with_room = s.settings[0].decode_router, 0
    if policy == SHORTEST_QUEUE:
        return _shortest_with_room(s, request)
    if policy == NEAREST:
        return _nearest_with_room(s, request)
    for r in range(s.settings[0].back_start, s.settings[0].ranks):
        with_room += _has_room(s, r, request)
    if with_room == 0:
        return NONE
    if policy == RANDOM:
        return _nth_with_room(s, request, _draw(s, with_room))
    if policy == POWER_OF_TWO:
        first = _nth_with_room(s, request, _draw(s, with_room))
        second = _nth_with_room(s, request, _draw(s, with_room))
        return second if s.ranks[second].outstanding < s.ranks[first].outstanding else first
    return _next_with_room(s, request)


@inner
def _has_room(s: State, r: int, request: int) -> bool:
    return s.ranks[r].free_pages + s.ranks[r].evictable_pages >= decode_pages(s, r, request)


@inner
def _nth_with_room(s: State, request: int, n: int) -> int:
    r = s.settings[0].back_start
    while n > 0 or not _has_room(s, r, request):
        n -= _has_room(s, r, request)
        r += 1
    return r


@inner
def _next_with_room(s: State, request: int) -> int:
    """The first one from the turn on, which passes to the rank behind it."""
    front = s.settings[0].back_start
    count, place = s.settings[0].ranks - front, s.world[0].decode_turn
    while not _has_room(s, front + place, request):
        place = (place + 1) % count
    s.world[0].decode_turn = (place + 1) % count
    return front + place


@inner
def _shortest_with_room(s: State, request: int) -> int:
    best = champion(s, SHORTEST_DECODE)
    if _has_room(s, best, request):
        return best
    best = NONE
    for r in range(s.settings[0].back_start, s.settings[0].ranks):
        if _has_room(s, r, request) and (best == NONE or s.ranks[r].outstanding < s.ranks[best].outstanding):
            best = r
    return best


@inner
def _nearest_with_room(s: State, request: int) -> int:
    """The shortest queue among the nearest ones."""
    sender, best = s.requests[request].rank, NONE
    for r in range(s.settings[0].back_start, s.settings[0].ranks):
        if not _has_room(s, r, request):
            continue
        nearer = 0 if best == NONE else distance(s, sender, best) - distance(s, sender, r)
        shorter = best == NONE or s.ranks[r].outstanding < s.ranks[best].outstanding
        if nearer > 0 or (nearer == 0 and shorter):
            best = r
    return best


@once
def _kv_aware(s: State, request: int) -> int:
    if s.settings[0].grows:
        take_started(s, s.world[0].now_s)
    shortest = shortest_queue(s)
    if _out_of_balance(s):
        return shortest
    rank, hits = _longest_cached(s, request, shortest)
    return rank if _is_enough(s, request, hits) else emptiest(s)


@inner
def _longest_cached(s: State, request: int, shortest: int) -> tuple[int, int]:
    """Rank with the longest cached prefix, ties to the shorter queue, and the prefix in blocks."""
    if len(s.holders) == 0:  # a single rank
        return shortest, matched_blocks(s, shortest, request, hit_limit(s, request))
    hits = longest_held(s, request, hit_limit(s, request))
    if hits == 0 or is_candidate(s, shortest):
        return shortest, hits
    best = NONE
    for r in range(s.settings[0].front_ranks):
        if is_candidate(s, r) and (best == NONE or s.ranks[r].outstanding < s.ranks[best].outstanding):
            best = r
    return best, hits


@inner
def _draw(s: State, count: int) -> np.int64:
    """A number below `count` from the run's own stream: SplitMix64 (Steele, Lea, Flood 2014, figure 17)."""
    w = s.world[0]
    w.random = w.random + np.uint64(0x9E3779B97F4A7C15)
    z = w.random
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(32)) * np.uint64(count) >> np.uint64(32))
