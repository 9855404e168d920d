"""The radix prefix cache of one rank: nodes over chained block ids, reference counts, LRU eviction.

A block id names a block and everything before it, so the tree needs no edges: a prefix is cached as far as
consecutive ids are in the rank's hash table. A node counts the running requests that use it. Nodes without
users are in one list, oldest use first, and a request that ends releases its path from the deepest node
up; a parent is therefore always younger than its children, and the head of the list is always a leaf
(the free list of vLLM's block pool has the same property). A request's own tail (what follows its shareable
blocks, and its output) becomes a node that nothing can match and that ages like any other.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import NONE, State


@inner
def matched_blocks(s: State, r: int, request: int, limit: int) -> int:
    """Consecutive blocks at the head of the request, at most `limit`, that rank `r` holds."""
    start = s.requests[request].blocks_start
    count = 0
    while count < limit:
        node = _find(s, r, s.block_ids[start + count])
        if node == NONE:
            break
        s.scratch[count] = node
        count += 1
    return count


@inner
def unused_in_path(s: State, count: int) -> int:
    """How many of the first `count` nodes of the matched path have no user (their pages are evictable)."""
    unused = 0
    for i in range(count):
        unused += s.nodes[s.scratch[i]].users == 0
    return unused


@inner
def lock_path(s: State, r: int, count: int) -> None:
    """Make a running request a user of the first `count` nodes of the matched path."""
    for i in range(count):
        _lock(s, r, s.scratch[i])


@inner
def evict(s: State, r: int, pages: int) -> None:
    """Free least recently used nodes until `pages` are free; the caller knows that they suffice."""
    rank = s.ranks[r]
    while rank.free_pages < pages:
        index = rank.lru_head
        node = s.nodes[index]
        _unlink(s, r, index)
        if node.key != NONE:
            _forget(s, r, node.key)
        rank.free_pages += node.pages
        rank.freed_pages += node.pages
        rank.tree_pages -= node.pages
        node.next = rank.free_node
        rank.free_node = index


@inner
def insert(s: State, r: int, request: int) -> None:
    """Hand the computed blocks of a request over to the tree; blocks that are there already are freed."""
    q, rank = s.requests[request], s.ranks[r]
    for i in range(q.path_blocks, q.blocks):
        key = s.block_ids[q.blocks_start + i]
        node = _find(s, r, key)
        q.private_pages -= rank.block_pages
        rank.held_pages -= rank.block_pages
        if node == NONE:
            node = _new_node(s, r, key, rank.block_pages)
            _remember(s, r, key, node)
            s.nodes[node].users = 1
        else:
            _lock(s, r, node)
            rank.free_pages += rank.block_pages
            rank.freed_pages += rank.block_pages


@inner
def release(s: State, r: int, request: int) -> None:
    """End a request's use of its path and leave its own tail in the cache as a node of its own.

    Without a prefix cache the request's pages are simply freed (it has no blocks then).
    """
    q, rank = s.requests[request], s.ranks[r]
    rank.held_pages -= q.private_pages
    if not s.settings[0].prefix_cache:
        rank.free_pages += q.private_pages
        rank.freed_pages += q.private_pages
    elif q.private_pages > 0:
        _append(s, r, _new_node(s, r, NONE, q.private_pages))
    q.private_pages = 0
    unlock_path(s, r, request, q.blocks)


@inner
def unlock_path(s: State, r: int, request: int, blocks: int) -> None:
    """End a request's use of its first `blocks` blocks, the deepest first."""
    q = s.requests[request]
    for i in range(blocks - 1, -1, -1):
        node = _find(s, r, s.block_ids[q.blocks_start + i])
        s.nodes[node].users -= 1
        if s.nodes[node].users == 0:
            _append(s, r, node)


@inner
def _lock(s: State, r: int, node: int) -> None:
    if s.nodes[node].users == 0:
        _unlink(s, r, node)
    s.nodes[node].users += 1


@inner
def _new_node(s: State, r: int, key: int, pages: int) -> int:
    rank = s.ranks[r]
    index = rank.free_node
    node = s.nodes[index]
    rank.free_node = node.next
    rank.tree_pages += pages
    node.key = key
    node.pages = pages
    node.users = 0
    return index


@inner
def _append(s: State, r: int, index: int) -> None:
    """Put a node without users at the young end of the list."""
    rank, node = s.ranks[r], s.nodes[index]
    rank.evictable_pages += node.pages
    node.previous = rank.lru_tail
    node.next = NONE
    if rank.lru_tail == NONE:
        rank.lru_head = index
    else:
        s.nodes[rank.lru_tail].next = index
    rank.lru_tail = index


@inner
def _unlink(s: State, r: int, index: int) -> None:
    rank, node = s.ranks[r], s.nodes[index]
    rank.evictable_pages -= node.pages
    if node.previous == NONE:
        rank.lru_head = node.next
    else:
        s.nodes[node.previous].next = node.next
    if node.next == NONE:
        rank.lru_tail = node.previous
    else:
        s.nodes[node.next].previous = node.previous


@inner
def _slot(s: State, key: int) -> np.int64:
    """Fibonacci hashing (Knuth, volume 3, section 6.4): the high bits of key × 2^64 / golden ratio."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(64 - s.settings[0].hash_bits))


@inner
def _find(s: State, r: int, key: int) -> int:
    base, mask = s.ranks[r].hash_base, (1 << s.settings[0].hash_bits) - 1
    slot = _slot(s, key)
    while s.table[base + slot] != NONE:
        node = s.table[base + slot]
        if s.nodes[node].key == key:
            return node
        slot = (slot + 1) & mask
    return NONE


@inner
def _remember(s: State, r: int, key: int, node: int) -> None:
    base, mask = s.ranks[r].hash_base, (1 << s.settings[0].hash_bits) - 1
    slot = _slot(s, key)
    while s.table[base + slot] != NONE:
        slot = (slot + 1) & mask
    s.table[base + slot] = node


@inner
def _forget(s: State, r: int, key: int) -> None:
    """Delete by moving later entries of the probe sequence back (Knuth, algorithm 6.4R)."""
    base, mask = s.ranks[r].hash_base, (1 << s.settings[0].hash_bits) - 1
    hole = _slot(s, key)
    while s.nodes[s.table[base + hole]].key != key:
        hole = (hole + 1) & mask
    slot = hole
    while True:
        slot = (slot + 1) & mask
        node = s.table[base + slot]
        if node == NONE:
            break
        home = _slot(s, s.nodes[node].key)
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            s.table[base + hole] = node
            hole = slot
    s.table[base + hole] = NONE
