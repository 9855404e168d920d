"""Blocks of drawn requests: ids of the shared prefix, then ids of the conversation's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .classes import ClassLaw
from .sessions import Turns

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Prefixes:
    """The shared prefix that each conversation opens with, shapes (conversations,)."""

    first_id: Ints
    """Id of its first block."""
    tokens: Ints
    """Its length; 0 for none."""
    ids: int
    """Ids that all prefixes take together: 0 … ids - 1."""


def draw_prefixes(
    classes: Sequence[ClassLaw], class_of: Ints, rng: np.random.Generator, block_tokens: int
) -> Prefixes:
    """A prefix for each conversation: group g of a class owns the ids g·n … g·n + n - 1 of its class."""
    first_id, tokens, ids = np.zeros_like(class_of), np.zeros_like(class_of), 0
    for index, each in enumerate(classes):
        if each.prefix is None:
            continue
        mine = np.flatnonzero(class_of == index)
        group = _groups(each.prefix.groups, each.prefix.zipf_exponent, len(mine), rng)
        carries = rng.random(len(mine)) < each.prefix.share
        blocks = each.prefix.tokens // block_tokens
        first_id[mine] = ids + group * blocks
        tokens[mine] = np.where(carries, each.prefix.tokens, 0)
        ids += each.prefix.groups * blocks
    return Prefixes(first_id, tokens, ids)


def block_table(
    classes: Sequence[ClassLaw], turns: Turns, openings: Ints, prefixes: Prefixes, block_tokens: int
) -> tuple[Ints, Ints]:
    """Offsets and ids of the full blocks of every turn that others may share, in the order of `turns`.

    `openings`: length of the first input of each conversation, shape (conversations,). A turn of a
    conversation shares all its full blocks with the turns after it; another request only its prefix.
    """
    shared = np.minimum(openings, prefixes.tokens) // block_tokens
    talks = np.array([each.conversation is not None for each in classes])
    own = shared[turns.session]
    blocks = np.where(talks[turns.class_id], turns.input_tokens // block_tokens, own)
    span = np.zeros_like(openings)
    np.maximum.at(span, turns.session, blocks)
    private = prefixes.ids + np.cumsum(span) - span
    offsets = np.concatenate(([0], np.cumsum(blocks)))
    position = np.arange(offsets[-1]) - np.repeat(offsets[:-1], blocks)
    session = np.repeat(turns.session, blocks)
    first = np.where(position < shared[session], prefixes.first_id[session], private[session])
    return offsets, first + position


def _groups(groups: int, exponent: float, count: int, rng: np.random.Generator) -> Ints:
    if exponent == 0:
        return rng.integers(groups, size=count)
    weights = np.arange(1, groups + 1, dtype=np.float64) ** -exponent
    cumulative = np.cumsum(weights) / weights.sum()
    return np.searchsorted(cumulative[:-1], rng.random(count), side="right").astype(np.int64)
