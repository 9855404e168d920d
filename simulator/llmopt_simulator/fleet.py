"""What routers search, before the first request: tournaments of ranks, and who holds which block."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.kernel import state as k
from llmopt_simulator.kernel.contest import CONTESTS, EMPTIEST, SHORTEST_DECODE

_NEVER: Final = np.iinfo(np.int64).max


def tournaments(settings: k.Records) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys, shape (contests, places), and winners, shape (contests, 2 · places); see `kernel.contest`.

    Nobody has requests; front ranks start as stale, so their free pages are not looked at here. Whoever is
    not in a contest never wins it.
    """
    names = ("ranks", "front_ranks", "back_start", "workers")
    ranks, front, back, workers = (int(settings[name][0]) for name in names)
    places = 1 << (ranks - 1).bit_length()
    keys = np.full((CONTESTS, places), _NEVER)
    keys[:EMPTIEST, :workers] = 0
    keys[EMPTIEST, :front] = 0
    keys[SHORTEST_DECODE, back:ranks] = 0
    winners = np.zeros((CONTESTS, 2 * places), np.int64)
    winners[:, places:] = np.arange(places)
    rows = np.arange(CONTESTS)
    for place in range(places - 1, 0, -1):
        left, right = winners[:, 2 * place], winners[:, 2 * place + 1]
        winners[:, place] = np.where(keys[rows, left] <= keys[rows, right], left, right)
    return keys, winners


def nobody_holds(settings: k.Records, block_ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Shape (distinct blocks, words), see `kernel.holders`; empty where nobody asks."""
    workers = int(settings["workers"][0])
    follows = settings["router"][0] in (k.CACHE_AWARE, k.KV_AWARE)
    asked = follows and settings["prefix_cache"][0] and workers > 1
    blocks = int(block_ids.max()) + 1 if asked and len(block_ids) else 0
    return np.zeros((blocks, -(-workers // 64)), np.uint64)
