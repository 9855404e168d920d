"""How far two ranks are from one another: what decides the way of a KV transfer between them."""

from __future__ import annotations

from typing import Final

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import State

SAME_NODE: Final = 0
SAME_RACK: Final = 1
OTHER_RACK: Final = 2


@inner
def distance(s: State, r: int, other: int) -> int:
    """Whether two ranks are in one node, else in one rack."""
    if s.ranks[r].node == s.ranks[other].node:
        return SAME_NODE
    return SAME_RACK if s.ranks[r].rack == s.ranks[other].rack else OTHER_RACK
