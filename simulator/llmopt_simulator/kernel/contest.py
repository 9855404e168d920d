"""Which rank is the first by some measure: tournaments that are played again only where something changed.

A tournament is a complete binary tree whose leaves are ranks, or workers of the router; every inner node
holds the winner of its two children, the one with the smaller key, the left one of equals, so the champion at
the root is the lowest index among the best. A new key costs one match a level, and none above a node whose
winner stays.

Keys of queues follow every change. Free pages change with everything that a rank does, so ranks whose engine
has acted are only noted as stale, and play when the next request asks for the emptiest cache.
"""

from __future__ import annotations

from typing import Final

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import CACHE_AWARE, KV_AWARE, State

SHORTEST: Final = 0
LONGEST: Final = 1
SMALLEST: Final = 2
EMPTIEST: Final = 3
SHORTEST_DECODE: Final = 4
CONTESTS: Final = 5
"""Workers by fewest requests, by most, by the smallest tree; front ranks by most free pages; decode ranks by
fewest requests."""

_OUTSTANDING_BITS: Final = 31


@inner
def champion(s: State, contest: int) -> int:
    """The first rank of a contest."""
    return s.winners[contest, 1]


@inner
def change_outstanding(s: State, r: int, change: int) -> None:
    """Add to the requests that are at rank `r` and not done."""
    rank = s.ranks[r]
    rank.outstanding += change
    if r >= s.settings[0].back_start:
        _play(s, SHORTEST_DECODE, r, rank.outstanding)
    if r >= s.settings[0].front_ranks:
        return
    worker = s.workers[rank.worker]
    worker.load += change
    _play(s, SHORTEST, rank.worker, worker.load)
    if s.settings[0].router == CACHE_AWARE or s.settings[0].router == KV_AWARE:
        _play(s, LONGEST, rank.worker, -worker.load)
        note_pages(s, r)


@inner
def change_tree(s: State, worker: int, tokens: int) -> None:
    """Add to the tokens that the router believes a worker to cache."""
    s.workers[worker].tree_tokens += tokens
    _play(s, SMALLEST, worker, s.workers[worker].tree_tokens)


@inner
def note_pages(s: State, r: int) -> None:
    """Tell that the free pages of rank `r` may have changed."""
    rank = s.ranks[r]
    if s.settings[0].router == KV_AWARE and r < s.settings[0].front_ranks and not rank.stale:
        rank.stale = True
        s.stale[s.world[0].stale] = r
        s.world[0].stale += 1


@inner
def emptiest(s: State) -> int:
    """The front rank with the most pages neither used nor asked for by waiting requests.

    Ties go to the shorter queue, then to the lowest index.
    """
    w = s.world[0]
    for i in range(w.stale):
        r = s.stale[i]
        rank = s.ranks[r]
        rank.stale = False
        taken = rank.wanted_pages - rank.free_pages
        _play(s, EMPTIEST, r, (taken << _OUTSTANDING_BITS) + rank.outstanding)
    w.stale = 0
    return champion(s, EMPTIEST)


@inner
def _play(s: State, contest: int, r: int, key: int) -> None:
    """Give rank or worker `r` a new key in a contest."""
    keys, winners = s.keys, s.winners
    keys[contest, r] = key
    place = keys.shape[1] + r
    while place > 1:
        place >>= 1
        left, right = winners[contest, 2 * place], winners[contest, 2 * place + 1]
        winner = left if keys[contest, left] <= keys[contest, right] else right
        if winner == winners[contest, place] and winner != r:
            break
        winners[contest, place] = winner
