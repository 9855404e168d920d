"""The radix prefix cache of one rank: nodes over chained block ids, reference counts, eviction by `eviction`.

A block id names a block and everything before it, so the tree needs no edges: a prefix is cached as far as
consecutive ids are in the rank's hash table. A node counts the running requests that use it; without users it
may be evicted. Blocks can be hit as soon as a chunk has computed them, while the request runs. When it ends
it leaves the blocks of its answer, if a next turn knows them, and its own tail: a node that nothing can match
and that ages like any other.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from llmopt_simulator.kernel.compiling import inner, once
from llmopt_simulator.kernel.eviction import offer, stamp_new, take_victim, withdraw
from llmopt_simulator.kernel.holders import note_cached
from llmopt_simulator.kernel.host_tier import has_room, leave_host, to_host, too_full
from llmopt_simulator.kernel.state import NONE, State

_NODE_BITS: Final = 32  # of an entry of the hash table; the bits above are the low ones of the block id
_NODES: Final = (1 << _NODE_BITS) - 1
_NAMES: Final = (1 << 31) - 1
_LINE_BITS: Final = 3  # entries of the hash table in a cache line
_IN_LINE: Final = (1 << _LINE_BITS) - 1


@inner
def matched_blocks(s: State, r: int, request: int, limit: int) -> int:
    """Consecutive blocks at the head of the request, at most `limit`, that rank `r` holds in either tier."""
    start = s.requests[request].blocks_start
    count, node = 0, NONE
    while count < limit:
        node = _find_below(s, r, node, s.block_ids[start + count])
        if node == NONE:
            break
        s.scratch[count] = node
        count += 1
    return count


@inner
def blocks_on_host(s: State, count: int) -> int:
    """How many of the first `count` nodes of the matched path are in host memory: its last ones."""
    on_host = 0
    while on_host < count and s.nodes[s.scratch[count - 1 - on_host]].on_host:
        on_host += 1
    return on_host


@inner
def unused_in_path(s: State, count: int) -> int:
    """How many of the first `count` nodes of the matched path have no user (their pages are evictable)."""
    unused = 0
    for i in range(count):
        unused += s.nodes[s.scratch[i]].users == 0
    return unused


@inner
def lock_path(s: State, r: int, count: int) -> None:
    """Make a running request a user of the first `count` nodes of the matched path, those on host as well."""
    for i in range(count):
        _lock(s, r, s.scratch[i])


@inner
def evict(s: State, r: int, pages: int) -> None:
    """Free unused nodes until `pages` are free; the caller knows that they suffice."""
    if s.ranks[r].free_pages < pages:
        _evict(s, r, pages)


@once
def _evict(s: State, r: int, pages: int) -> None:
    rank = s.ranks[r]
    while rank.free_pages < pages:
        index = take_victim(s, r)
        rank.free_pages += s.nodes[index].pages
        rank.freed_pages += s.nodes[index].pages
        rank.tree_pages -= s.nodes[index].pages
        if not has_room(s, r, index):
            _drop(s, r, index)
            continue
        while too_full(s, r, index):
            oldest = rank.host_head
            leave_host(s, r, oldest)
            _drop(s, r, oldest)
        to_host(s, r, index)


@inner
def _drop(s: State, r: int, index: int) -> None:
    """Forget a node that is in neither tier."""
    node = s.nodes[index]
    if node.key != NONE:
        _forget(s, r, node.key)
        node.key = NONE
    node.next = s.ranks[r].free_node
    s.ranks[r].free_node = index


@once
def insert(s: State, r: int, request: int, blocks: int) -> None:
    """Hand the computed blocks of a request over to the tree, the first `blocks` of its input."""
    q = s.requests[request]
    parent = _node_before(s, r, request, q.path_blocks)
    for i in range(q.path_blocks, blocks):
        parent = _hold(s, r, request, s.block_ids[q.blocks_start + i], parent)
    q.path_blocks = blocks


@inner
def release(s: State, r: int, request: int, answer_blocks: int) -> None:
    """End a request's use of its path and leave its KV in the cache: an answer's blocks, its own tail.

    Without a prefix cache the request's pages are simply freed (it has no blocks then).
    """
    q, rank = s.requests[request], s.ranks[r]
    last = _node_before(s, r, request, q.blocks)
    answered = 0
    while answered < answer_blocks and q.private_pages >= rank.block_pages:
        last = _hold(s, r, request, s.block_ids[q.answer_start + answered], last)
        answered += 1
    rank.held_pages -= q.private_pages
    if not s.settings[0].prefix_cache:
        rank.free_pages += q.private_pages
        rank.freed_pages += q.private_pages
    elif q.private_pages > 0:
        offer(s, r, _new_node(s, r, NONE, q.private_pages, last))
    q.private_pages = 0
    _unlock(s, r, q.answer_start, answered)
    _unlock(s, r, q.blocks_start, q.blocks)


@inner
def unlock_path(s: State, r: int, request: int) -> None:
    """End a request's use of its blocks in the tree."""
    _unlock(s, r, s.requests[request].blocks_start, s.requests[request].path_blocks)


@inner
def _unlock(s: State, r: int, start: int, count: int) -> None:
    """End the use of the nodes of `count` ids, the deepest first: each is the parent of the one before."""
    node = NONE
    for i in range(start + count - 1, start - 1, -1):
        node = NONE if node == NONE else s.nodes[node].parent
        if node == NONE or s.nodes[node].key != s.block_ids[i]:
            node = _find(s, r, s.block_ids[i])
        s.nodes[node].users -= 1
        if s.nodes[node].users == 0:
            offer(s, r, node)


@inner
def _hold(s: State, r: int, request: int, key: int, parent: int) -> int:
    """Hand a block's own pages over to the node of its id, below `parent`; freed if there is one already."""
    q, rank = s.requests[request], s.ranks[r]
    q.private_pages -= rank.block_pages
    rank.held_pages -= rank.block_pages
    node = _find(s, r, key)
    if node == NONE:
        node = _new_node(s, r, key, rank.block_pages, parent)
        _remember(s, r, key, node)
        s.nodes[node].users = 1
    else:
        if not s.nodes[node].on_host:
            rank.free_pages += rank.block_pages
            rank.freed_pages += rank.block_pages
        _lock(s, r, node)
    return node


@inner
def _lock(s: State, r: int, node: int) -> None:
    if s.nodes[node].on_host:
        _recall(s, r, node)
    elif s.nodes[node].users == 0:
        withdraw(s, r, node)
    s.nodes[node].users += 1
    s.nodes[node].uses += 1


@inner
def _recall(s: State, r: int, node: int) -> None:
    """Give a node in host memory back to the device, whose pages are the caller's to take."""
    leave_host(s, r, node)
    s.ranks[r].tree_pages += s.nodes[node].pages
    if s.nodes[node].parent != NONE:
        s.nodes[s.nodes[node].parent].children += 1


@inner
def _node_before(s: State, r: int, request: int, depth: int) -> int:
    """The node of the block before number `depth` of a request that holds it, NONE for the first."""
    return NONE if depth == 0 else _find(s, r, s.block_ids[s.requests[request].blocks_start + depth - 1])


@inner
def _new_node(s: State, r: int, key: int, pages: int, parent: int) -> int:
    """A node of one use without users, below `parent` or at the root."""
    rank = s.ranks[r]
    index = rank.free_node
    node = s.nodes[index]
    rank.free_node = node.next
    rank.tree_pages += pages
    node.key = key
    node.pages = pages
    node.users = node.children = 0
    node.on_host = False
    node.uses = 1
    node.parent = parent
    if parent != NONE:
        s.nodes[parent].children += 1
    stamp_new(s, r, index)
    return index


@inner
def _slot(s: State, name: int) -> np.int64:
    """Fibonacci hashing (Knuth, volume 3, section 6.4) of eight neighbours to one cache line."""
    bits = s.settings[0].hash_bits
    mixed = np.uint64(name >> _LINE_BITS) * np.uint64(0x9E3779B97F4A7C15)
    line = np.int64(mixed >> np.uint64(64 - bits)) & ~_IN_LINE
    return (line | (name & _IN_LINE)) & ((1 << bits) - 1)


@inner
def _find(s: State, r: int, key: int) -> int:
    base, mask = s.ranks[r].hash_base, (1 << s.settings[0].hash_bits) - 1
    name = key & _NAMES
    slot = _slot(s, name)
    while s.table[base + slot] != NONE:
        entry = s.table[base + slot]
        if entry >> _NODE_BITS == name and s.nodes[entry & _NODES].key == key:
            return entry & _NODES
        slot = (slot + 1) & mask
    return NONE


@inner
def _find_below(s: State, r: int, parent: int, key: int) -> int:
    """The node of `key`; what was made together lies together, so the next one is tried first."""
    if parent != NONE and parent + 1 < len(s.nodes):
        node = s.nodes[parent + 1]
        if node.key == key and node.parent == parent:
            return parent + 1
    return _find(s, r, key)


@inner
def _remember(s: State, r: int, key: int, node: int) -> None:
    base, mask = s.ranks[r].hash_base, (1 << s.settings[0].hash_bits) - 1
    slot = _slot(s, key & _NAMES)
    while s.table[base + slot] != NONE:
        slot = (slot + 1) & mask
    s.table[base + slot] = (key & _NAMES) << _NODE_BITS | node
    note_cached(s, r, key, True)


@inner
def _forget(s: State, r: int, key: int) -> None:
    """Delete by moving later entries of the probe sequence back (Knuth, algorithm 6.4R)."""
    note_cached(s, r, key, False)
    base, mask = s.ranks[r].hash_base, (1 << s.settings[0].hash_bits) - 1
    hole = _slot(s, key & _NAMES)
    while s.nodes[s.table[base + hole] & _NODES].key != key:
        hole = (hole + 1) & mask
    slot = hole
    while True:
        slot = (slot + 1) & mask
        entry = s.table[base + slot]
        if entry == NONE:
            break
        home = _slot(s, entry >> _NODE_BITS)
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            s.table[base + hole] = entry
            hole = slot
    s.table[base + hole] = NONE
