"""The step laws that a run reads: of each pool and of its draft, each with a scratch of its own."""

from __future__ import annotations

from typing import NamedTuple

from llmopt_calibration.compiled import StepArrays
from llmopt_calibration.curve import Scratch


class PoolLaw(NamedTuple):
    """The step law of a pool, or of its draft."""

    step: StepArrays
    scratch: Scratch


class Laws(NamedTuple):
    """The laws of the first and the last pool (the same one twice when there is one pool), of the pool
    between them, which has no draft, and of the drafts of those two.
    """

    front: PoolLaw
    decode: PoolLaw
    between: PoolLaw
    front_draft: PoolLaw
    decode_draft: PoolLaw
