"""What a cache-aware router believes its workers to cache: a radix tree each, of what it routed to them.

They are approximate, as in SGLang's router: updated only by its own decisions, never by what the workers
really keep. Every `eviction_interval_s` a tree that is beyond its size forgets what was routed longest ago,
leaves first. A block id names its whole prefix, so a worker that has a block has all before it, and a
prefix is known as far as any worker has its blocks: one walk finds the longest match over all workers.

Entries, which say when a worker was last routed a block, exist only where trees may outgrow their size. A
worker's are in one list, oldest first, and a path is put at its young end from the deepest block up: the
oldest entry is always a leaf. The rest of an input, behind its blocks, is a leaf that nothing matches.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.contest import change_tree
from llmopt_simulator.kernel.holders import holds, is_candidate, longest_held, note_block
from llmopt_simulator.kernel.state import NONE, State


@inner
def longest_match(s: State, request: int) -> tuple[int, int]:
    """The worker with the most of the request's blocks at its head, the lowest of several, and how many."""
    if len(s.holders) == 0:  # a single worker, or nothing to share
        return 0, 0
    depth, worker = longest_held(s, request, s.requests[request].blocks), 0
    while depth > 0 and not is_candidate(s, worker):
        worker += 1
    return worker, depth


@inner
def touch(s: State, request: int, worker: int, blocks: int) -> None:
    """The first `blocks` blocks of a request, which a worker has, have been asked for."""
    if s.settings[0].trees_evict:
        start = s.requests[request].blocks_start
        for i in range(start + blocks - 1, start - 1, -1):
            entry = _find(s, s.block_ids[i], worker)
            _unlink(s, entry)
            _append(s, entry)


@inner
def remember(s: State, request: int, worker: int) -> None:
    """The input of a request has been routed to a worker."""
    q = s.requests[request]
    rest = q.input_tokens - q.blocks * s.settings[0].block_tokens
    if rest > 0:
        change_tree(s, worker, rest)
        if s.settings[0].trees_evict:
            _append(s, _new_entry(s, NONE, worker, rest))
    if len(s.holders) == 0:
        return
    for i in range(q.blocks_start + q.blocks - 1, q.blocks_start - 1, -1):
        _remember_block(s, s.block_ids[i], worker)


@inner
def evict_trees(s: State, now_s: float) -> None:
    """Let trees that are beyond their size forget, if their time has come; between two times none changes."""
    if not s.settings[0].trees_evict or now_s < s.world[0].next_eviction_s:
        return
    interval_s = s.settings[0].eviction_interval_s
    s.world[0].next_eviction_s = (np.floor(now_s / interval_s) + 1.0) * interval_s
    for worker in range(len(s.workers)):
        while s.workers[worker].tree_tokens > s.settings[0].max_tree_tokens:
            _forget(s, s.workers[worker].oldest)


@inner
def _remember_block(s: State, block: int, worker: int) -> None:
    known = holds(s, worker, block)
    if not known:
        note_block(s, worker, block, True)
        change_tree(s, worker, s.settings[0].block_tokens)
    if not s.settings[0].trees_evict:
        return
    if known:
        entry = _find(s, block, worker)
        _unlink(s, entry)
    else:
        entry = _new_entry(s, block, worker, s.settings[0].block_tokens)
        s.entry_table[_free_slot(s, block, worker)] = entry
    _append(s, entry)


@inner
def _forget(s: State, index: int) -> None:
    """Drop the oldest entry of a worker."""
    entry = s.entries[index]
    _unlink(s, index)
    change_tree(s, entry.worker, -entry.tokens)
    if entry.key != NONE:
        note_block(s, entry.worker, entry.key, False)
        _remove_slot(s, _slot_of(s, entry.key, entry.worker))
    entry.next = s.world[0].free_entry
    s.world[0].free_entry = index


@inner
def _new_entry(s: State, key: int, worker: int, tokens: int) -> int:
    index = s.world[0].free_entry
    entry = s.entries[index]
    s.world[0].free_entry = entry.next
    entry.key = key
    entry.worker = worker
    entry.tokens = tokens
    return index


@inner
def _append(s: State, index: int) -> None:
    """Put an entry at the young end of its worker's list."""
    worker, entry = s.workers[s.entries[index].worker], s.entries[index]
    entry.previous = worker.youngest
    entry.next = NONE
    if worker.youngest == NONE:
        worker.oldest = index
    else:
        s.entries[worker.youngest].next = index
    worker.youngest = index


@inner
def _unlink(s: State, index: int) -> None:
    worker, entry = s.workers[s.entries[index].worker], s.entries[index]
    if entry.previous == NONE:
        worker.oldest = entry.next
    else:
        s.entries[entry.previous].next = entry.next
    if entry.next == NONE:
        worker.youngest = entry.previous
    else:
        s.entries[entry.next].previous = entry.previous


@inner
def _find(s: State, block: int, worker: int) -> int:
    return s.entry_table[_slot_of(s, block, worker)]


@inner
def _home(s: State, block: int, worker: int) -> np.int64:
    """Fibonacci hashing, as in `prefix_cache`; the table's length is a power of two."""
    mixed = np.uint64(block * len(s.workers) + worker) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(24)) & np.uint64(len(s.entry_table) - 1))


@inner
def _slot_of(s: State, block: int, worker: int) -> int:
    """Where the entry of a block that a worker has is in the table."""
    slot, mask = _home(s, block, worker), len(s.entry_table) - 1
    entry = s.entries[s.entry_table[slot]]
    while entry.key != block or entry.worker != worker:
        slot = (slot + 1) & mask
        entry = s.entries[s.entry_table[slot]]
    return slot


@inner
def _free_slot(s: State, block: int, worker: int) -> int:
    slot, mask = _home(s, block, worker), len(s.entry_table) - 1
    while s.entry_table[slot] != NONE:
        slot = (slot + 1) & mask
    return slot


@inner
def _remove_slot(s: State, hole: int) -> None:
    """Delete by moving later entries of the probe sequence back (Knuth, algorithm 6.4R)."""
    slot, mask = hole, len(s.entry_table) - 1
    while True:
        slot = (slot + 1) & mask
        index = s.entry_table[slot]
        if index == NONE:
            break
        home = _home(s, s.entries[index].key, s.entries[index].worker)
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            s.entry_table[hole] = index
            hole = slot
    s.entry_table[hole] = NONE
