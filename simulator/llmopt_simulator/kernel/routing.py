"""Which rank a request goes to. Policies read the true state of every rank; ties go to the lowest index.

Round robin takes turns. Shortest queue counts requests routed to a rank and not done there. Cache-aware is
SGLang's router: when the queues are out of balance, the shortest one; else the rank with the longest
cached prefix if that covers enough of the input; else the rank with the most free cache. Power of
two takes the shorter queue of two drawn ranks. With a central queue, requests wait at the router until a rank
has a free place in its batch.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.contest import LONGEST, SHORTEST, SHORTEST_DECODE, champion, emptiest
from llmopt_simulator.kernel.growth import take_started
from llmopt_simulator.kernel.holders import is_candidate, longest_held
from llmopt_simulator.kernel.prefix_cache import matched_blocks
from llmopt_simulator.kernel.scheduler import decode_pages, hit_limit
from llmopt_simulator.kernel.state import CACHE_AWARE, NONE, POWER_OF_TWO, ROUND_ROBIN, State


@inner
def choose_rank(s: State, request: int) -> int:
    """The rank of the front pool that a request is routed to."""
    if s.settings[0].router == ROUND_ROBIN:
        rank = s.world[0].turn
        s.world[0].turn = (rank + 1) % s.settings[0].front_ranks
        return rank
    if s.settings[0].router == CACHE_AWARE:
        return _cache_aware(s, request)
    if s.settings[0].router == POWER_OF_TWO:
        return _power_of_two(s)
    return shortest_queue(s)


@inner
def shortest_queue(s: State) -> int:
    """The rank of the front pool with the fewest outstanding requests."""
    return champion(s, SHORTEST)


@inner
def choose_decode_rank(s: State, request: int) -> int:
    """The decode rank with the fewest outstanding requests among those with enough free pages, or NONE."""
    best = champion(s, SHORTEST_DECODE)
    if s.ranks[best].free_pages >= decode_pages(s, best, request):
        return best
    best = NONE
    for r in range(s.settings[0].front_ranks, s.settings[0].ranks):
        if s.ranks[r].free_pages < decode_pages(s, r, request):
            continue
        if best == NONE or s.ranks[r].outstanding < s.ranks[best].outstanding:
            best = r
    return best


@inner
def _cache_aware(s: State, request: int) -> int:
    if s.settings[0].grows:
        take_started(s, s.world[0].now_s)
    shortest = shortest_queue(s)
    least, most = s.ranks[shortest].outstanding, s.ranks[champion(s, LONGEST)].outstanding
    if most - least > s.settings[0].balance_abs and most > s.settings[0].balance_rel * least:
        return shortest
    rank, hits = _longest_match(s, request, shortest)
    if hits * s.settings[0].block_tokens >= s.settings[0].cache_threshold * s.requests[request].input_tokens:
        return rank
    return emptiest(s)


@inner
def _longest_match(s: State, request: int, shortest: int) -> tuple[int, int]:
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
def _power_of_two(s: State) -> int:
    first, second = _draw(s), _draw(s)
    if s.ranks[second].outstanding < s.ranks[first].outstanding:
        return second
    return first


@inner
def _draw(s: State) -> np.int64:
    """A front rank from the run's own stream: SplitMix64 (Steele, Lea, Flood 2014, figure 17)."""
    w = s.world[0]
    w.random = w.random + np.uint64(0x9E3779B97F4A7C15)
    z = w.random
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(32)) * np.uint64(s.settings[0].front_ranks) >> np.uint64(32))
