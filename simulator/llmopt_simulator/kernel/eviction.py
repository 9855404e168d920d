"""Which node of a prefix cache goes first when pages are wanted: leaves that nobody uses.

Least recently used: nodes without users are in one list, oldest use first, and a request that ends releases
its path from the deepest node up; a parent is therefore always younger than its children, and the head of
the list is always a leaf (the free list of vLLM's block pool has the same property).

Least frequently used, and first in, first out: unused leaves are in a heap, by the number of requests that
they have served and then by their last use, or by when they were made; a parent enters it when its last
child goes (SGLang's radix cache).
"""

from __future__ import annotations

from typing import Final

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import LFU, LRU, NONE, State

_CLOCK_BITS: Final = 40
_MOST_USES: Final = (1 << 22) - 1


@inner
def stamp_new(s: State, r: int, index: int) -> None:
    """Set the order of a node that has just been made."""
    rank = s.ranks[r]
    rank.clock += 1
    s.nodes[index].order = rank.clock


@inner
def offer(s: State, r: int, index: int) -> None:
    """Let a node that has lost its last user be evicted."""
    rank, node = s.ranks[r], s.nodes[index]
    rank.evictable_pages += node.pages
    if s.settings[0].eviction == LRU:
        _append(s, r, index)
        return
    if s.settings[0].eviction == LFU:
        rank.clock += 1
        node.order = (min(node.uses, _MOST_USES) << _CLOCK_BITS) | rank.clock
    if node.children == 0:
        _insert(s, r, index)


@inner
def withdraw(s: State, r: int, index: int) -> None:
    """Keep a node that has a user again."""
    node = s.nodes[index]
    s.ranks[r].evictable_pages -= node.pages
    if s.settings[0].eviction == LRU:
        _unlink(s, r, index)
    elif node.children == 0:
        _remove(s, r, index)


@inner
def take_victim(s: State, r: int) -> int:
    """The node that goes next, no longer offered; its parent may be a leaf now. There is one."""
    lru = s.settings[0].eviction == LRU
    index = s.ranks[r].lru_head if lru else s.leaves[s.ranks[r].node_base]
    withdraw(s, r, index)
    parent = s.nodes[index].parent
    if parent != NONE:
        s.nodes[parent].children -= 1
        if not lru and s.nodes[parent].children == 0 and s.nodes[parent].users == 0:
            _insert(s, r, parent)
    return index


@inner
def _append(s: State, r: int, index: int) -> None:
    """Put a node at the young end of the list."""
    rank, node = s.ranks[r], s.nodes[index]
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
    if node.previous == NONE:
        rank.lru_head = node.next
    else:
        s.nodes[node.previous].next = node.next
    if node.next == NONE:
        rank.lru_tail = node.previous
    else:
        s.nodes[node.next].previous = node.previous


@inner
def _insert(s: State, r: int, index: int) -> None:
    """Put a node in the heap of leaves."""
    rank = s.ranks[r]
    rank.leaves += 1
    _rise(s, r, rank.leaves - 1, index)


@inner
def _remove(s: State, r: int, index: int) -> None:
    """Take a node out of the heap of leaves; the last one takes its place."""
    rank, place = s.ranks[r], s.nodes[index].place
    rank.leaves -= 1
    last = s.leaves[rank.node_base + rank.leaves]
    if last != index:
        _sink(s, r, place, last)
        _rise(s, r, s.nodes[last].place, last)


@inner
def _put(s: State, r: int, place: int, index: int) -> None:
    s.leaves[s.ranks[r].node_base + place] = index
    s.nodes[index].place = place


@inner
def _rise(s: State, r: int, place: int, index: int) -> None:
    base = s.ranks[r].node_base
    while place > 0:
        above = s.leaves[base + ((place - 1) >> 1)]
        if s.nodes[above].order <= s.nodes[index].order:
            break
        _put(s, r, place, above)
        place = (place - 1) >> 1
    _put(s, r, place, index)


@inner
def _sink(s: State, r: int, place: int, index: int) -> None:
    base, count = s.ranks[r].node_base, s.ranks[r].leaves
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if (
            below + 1 < count
            and s.nodes[s.leaves[base + below + 1]].order < s.nodes[s.leaves[base + below]].order
        ):
            below += 1
        if s.nodes[index].order <= s.nodes[s.leaves[base + below]].order:
            break
        _put(s, r, place, s.leaves[base + below])
        place = below
    _put(s, r, place, index)
