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
    """The laws of the two pools (the same one twice when there is one pool) and of their drafts."""

    front: PoolLaw
    decode: PoolLaw
    front_draft: PoolLaw
    decode_draft: PoolLaw
