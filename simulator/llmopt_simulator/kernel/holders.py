"""Which front ranks hold a block, or workers in the router's belief: one bit each, for every block id.

A router that follows prefixes asks all ranks at once: those that hold the first blocks of a request are the
intersection of the sets of these blocks, and the last set that is not empty names the longest matches. Block
ids are dense, so the sets lie in an array. It is empty where nobody asks: another router, or a single rank.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import KV_AWARE, State


@inner
def note_cached(s: State, r: int, block: int, held: bool) -> None:
    """Tell a router that knows what ranks cache that rank `r` has a block now, or no more."""
    if s.settings[0].router == KV_AWARE and len(s.holders) > 0:
        note_block(s, r, block, held)


@inner
def note_block(s: State, r: int, block: int, held: bool) -> None:
    """Note that rank or worker `r` holds a block now, or no more."""
    bit = np.uint64(1) << np.uint64(r & 63)
    if held:
        s.holders[block, r >> 6] |= bit
    else:
        s.holders[block, r >> 6] &= ~bit


@inner
def holds(s: State, r: int, block: int) -> bool:
    """Whether rank or worker `r` holds a block."""
    return (s.holders[block, r >> 6] >> np.uint64(r & 63)) & np.uint64(1) != 0


@inner
def longest_held(s: State, request: int, limit: int) -> int:
    """Blocks at the head of a request, `limit` at most, that some rank holds; `is_candidate` tells which."""
    start = s.requests[request].blocks_start
    for depth in range(limit):
        block, anybody = s.block_ids[start + depth], np.uint64(0)
        for word in range(s.holders.shape[1]):
            anybody |= _both(s, depth, block, word)
        if anybody == 0:
            return depth
        for word in range(s.holders.shape[1]):
            s.candidates[word] = _both(s, depth, block, word)
    return limit


@inner
def is_candidate(s: State, r: int) -> bool:
    """Whether rank `r` holds all blocks, one at least, that `longest_held` has just found."""
    return (s.candidates[r >> 6] >> np.uint64(r & 63)) & np.uint64(1) != 0


@inner
def _both(s: State, depth: int, block: int, word: int) -> np.uint64:
    """Ranks, 64 a word, that hold the block and all before it."""
    return s.holders[block, word] & (s.candidates[word] if depth > 0 else ~np.uint64(0))
