"""The blocks that an answer leaves in the prefix cache, for the next turn of its conversation to find.

Requests name the blocks of their inputs only. The input of a turn that follows another one begins with that
one's input and answer, so its ids name the answer's blocks too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.traffic.requests import Workload

Ints = NDArray[np.int64]


def answer_blocks(workload: Workload) -> tuple[Ints, Ints]:
    """Where the ids of every request's answer start in `block_ids`, and how many there are, shapes (n,).

    They continue the blocks of its input; the last token of an answer has no KV. None for a request that
    nothing follows, or only requests that begin otherwise.
    """
    requests, offsets = workload.requests, workload.requests.block_offsets
    starts, counts = np.zeros(len(requests), np.int64), np.zeros(len(requests), np.int64)
    if workload.follows is None:
        return starts, counts
    later = np.flatnonzero(workload.follows >= 0)
    earlier = workload.follows[later]
    blocks = np.diff(offsets)
    computed = (requests.input_tokens + requests.output_tokens - 1)[earlier] // requests.block_tokens
    answered = np.minimum(computed, blocks[later]) - blocks[earlier]
    kept = (answered > 0) & _begins_with(workload, later, earlier)
    starts[earlier[kept]] = (offsets[later] + blocks[earlier])[kept]
    counts[earlier[kept]] = answered[kept]
    return starts, counts


def _begins_with(workload: Workload, later: Ints, earlier: Ints) -> NDArray[np.bool_]:
    """Whether the inputs of the later requests begin with the inputs and answers of the earlier ones.

    One id stands for a block and everything before it, so the last block that both have decides.
    """
    requests, offsets = workload.requests, workload.requests.block_offsets
    lengths = requests.input_tokens + requests.output_tokens
    blocks = np.diff(offsets)[earlier]
    long_enough = requests.input_tokens[later] >= lengths[earlier]
    enough_blocks = np.diff(offsets)[later] >= blocks
    last = np.where(enough_blocks & (blocks > 0), blocks - 1, 0)
    most = max(len(requests.block_ids) - 1, 0)
    ids = np.append(requests.block_ids, -1)
    same = ids[np.minimum(offsets[later] + last, most)] == ids[np.minimum(offsets[earlier] + last, most)]
    return np.asarray(long_enough & enough_blocks & (same | (blocks == 0)))
