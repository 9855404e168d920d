"""Records of what a run is made of besides requests, ranks and engines: tree nodes, queues, links, events."""

from __future__ import annotations

from typing import Final

import numpy as np

NODE: Final = np.dtype(
    [
        ("key", "i8"),
        ("order", "i8"),  # its place among leaves that may be evicted: see `eviction`
        ("previous", "i4"),
        ("next", "i4"),
        ("parent", "i4"),
        ("place", "i4"),  # in the heap of leaves
        ("users", "i4"),
        ("pages", "i4"),
        ("children", "i4"),
        ("uses", "i4"),  # requests that it has served
        ("on_host", "?"),
    ],
    align=True,
)
QUEUE: Final = np.dtype([("head", "i8"), ("tail", "i8"), ("count", "i8")], align=True)
FLOW: Final = np.dtype(
    [
        ("request", "i8"),
        ("purpose", "i8"),
        ("first", "i8"),  # the links that it crosses, NONE beyond the last
        ("second", "i8"),
        ("third", "i8"),
        ("fourth", "i8"),
        ("size_bytes", "f8"),
        ("left_bytes", "f8"),
        ("held_bytes", "f8"),  # of them, those that have still to be computed,
        ("made_per_s", "f8"),  # and how fast they are
        ("bytes_per_s", "f8"),
    ],
    align=True,
)
SETUP: Final = np.dtype([("time_s", "f8"), ("request", "i8"), ("purpose", "i8")], align=True)
TURN: Final = np.dtype([("follows", "i8"), ("follower", "i8"), ("sibling", "i8")], align=True)
"""The request that a request waits for, the first one that waits for it, the next with the same `follows`."""
THINKER: Final = np.dtype([("time_s", "f8"), ("request", "i8")], align=True)
LINK: Final = np.dtype([("bytes_per_s", "f8"), ("flows", "i8")], align=True)
SOURCE: Final = np.dtype(
    [
        ("time_s", "f8"),  # of this source's event, infinite when silent
        ("place", "i8"),  # of this source in the heap
        ("at_place", "i8"),  # the source at this place of the heap
    ],
    align=True,
)
STEP: Final = np.dtype(
    [
        ("engine", "i8"),
        ("start_s", "f8"),
        ("end_s", "f8"),
        ("decodes", "i8"),  # sequences that got a token, over the ranks
        ("made", "i8"),  # tokens that they got, more where they speculate
        ("prefill_tokens", "i8"),
        ("context", "i8"),  # of the decodes
        ("pages", "i8"),  # KV pages in use over the ranks when the step was recorded
    ],
    align=True,
)
"""One step of an engine, in the log that `Run.steps` asks for."""
WORKER: Final = np.dtype(
    [
        ("load", "i8"),  # requests routed to it and not done
        ("rank_start", "i8"),
        ("ranks", "i8"),
        ("turn", "i8"),  # of them, when the router does not see them
        ("tree_tokens", "i8"),  # that the router believes it to cache
        ("oldest", "i8"),  # of its entries, by when it was last routed something with them
        ("youngest", "i8"),
    ],
    align=True,
)
ENTRY: Final = np.dtype(
    [("key", "i8"), ("worker", "i4"), ("tokens", "i4"), ("previous", "i4"), ("next", "i4")], align=True
)
"""What the router remembers of a worker: a block (its id) or the rest of a request (NONE)."""
