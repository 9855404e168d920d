"""The second tier of a prefix cache: nodes in host memory, where evicted ones go and hits are loaded from.

A node is in one tier at a time. Leaves are evicted before what they continue, so in both tiers a node's
descendants are gone before it, and what a rank holds of a path is in device memory first and then in host
memory. The tier drops what came there first; under LRU that is what was used longest ago. Writing runs beside
everything else, in the other direction of the link.
"""

from __future__ import annotations

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import NONE, State


@inner
def has_room(s: State, r: int, index: int) -> bool:
    """Whether host memory could hold a node if it were empty."""
    return s.nodes[index].pages <= s.ranks[r].host_capacity_pages


@inner
def too_full(s: State, r: int, index: int) -> bool:
    """Whether a node must be dropped before this one comes."""
    return s.ranks[r].host_pages + s.nodes[index].pages > s.ranks[r].host_capacity_pages


@inner
def to_host(s: State, r: int, index: int) -> None:
    """Keep an evicted node in host memory, where there is room."""
    rank, node = s.ranks[r], s.nodes[index]
    node.on_host = True
    node.previous = rank.host_tail
    node.next = NONE
    if rank.host_tail == NONE:
        rank.host_head = index
    else:
        s.nodes[rank.host_tail].next = index
    rank.host_tail = index
    rank.host_pages += node.pages
    rank.host_peak_pages = max(rank.host_peak_pages, rank.host_pages)


@inner
def leave_host(s: State, r: int, index: int) -> None:
    """Take a node out of host memory: it is loaded, computed anew, or dropped."""
    rank, node = s.ranks[r], s.nodes[index]
    node.on_host = False
    rank.host_pages -= node.pages
    if node.previous == NONE:
        rank.host_head = node.next
    else:
        s.nodes[node.previous].next = node.next
    if node.next == NONE:
        rank.host_tail = node.previous
    else:
        s.nodes[node.next].previous = node.previous
