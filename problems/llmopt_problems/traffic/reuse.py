"""Tokens that came before: what an infinite prefix cache would save, of recorded or described requests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .classes import ClassLaw
from .requests import Requests
from .turns import TurnMoments


def infinite_cache_hits(requests: Requests) -> NDArray[np.int64]:
    """Tokens of each request, shape (n,), whose blocks an earlier request already brought."""
    known, dense = np.unique(requests.block_ids, return_inverse=True)
    # Ids are chained, so the blocks seen before are always a head of the request.
    seen = np.zeros(len(known), dtype=bool)
    hits = np.zeros(len(requests), np.int64)
    for index, (start, stop) in enumerate(
        zip(requests.block_offsets, requests.block_offsets[1:], strict=False)
    ):
        ids = dense[start:stop]
        hits[index] = seen[ids].sum() * requests.block_tokens
        seen[ids] = True
    return hits


def reused_tokens(each: ClassLaw, moments: TurnMoments, block_tokens: int) -> float:
    """Tokens of a turn that came before: of the shared prefix if it is the first, else of the history.

    E[floor(min(prefix, input) / block)] · block is the sum over blocks of the chance to have them.
    """
    if each.prefix is None:
        return moments.history_tokens
    blocks = range(1, each.prefix.tokens // block_tokens + 1)
    too_long = each.first.at_least(each.max_input_tokens + 1)
    sent = 1 - too_long
    held = sum(each.first.at_least(k * block_tokens) - too_long for k in blocks) / sent
    return moments.history_tokens + moments.first_turns * each.prefix.share * block_tokens * held
