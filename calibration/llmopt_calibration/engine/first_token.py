"""What a first token waits for beside the queues and kernels that a simulation sees, written once.

A request is parsed and tokenised; at the start of a closed loop the whole burst passes the front end one by
one; a scheduler that looks for requests every few steps only makes them wait for its next look; the token
itself passes the overlapped steps in flight, sampling, detokenisation and streaming; and between separate
pools it is streamed by the decode instance, steps after the prefill instance made it:

    added = (delay_steps + delay_polls · (steps between two looks - 1) + handoff_steps where pools are apart)
            · tpot + input_token_s · input tokens + admission_s · requests admitted before
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
BURST_ROUNDS = 10
"""Requests a user of the closed loops that are served; the first of them arrive at once."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstTokens:
    """What the delay of first tokens depends on: one entry a closed loop."""

    input_tokens: Numbers
    disaggregated: Numbers
    """1 where prefill and decode pools are apart, else 0."""
    poll_steps: Numbers
    """Decode steps between two looks of the scheduler at new requests."""
    users: Numbers

    def admitted_before(self) -> Numbers:
        """Requests that the front end admits before one, mean over all requests of the loop."""
        return (self.users - 1) / 2 / BURST_ROUNDS

    def only(self, chosen: NDArray[np.bool_]) -> FirstTokens:
        """The loops of a mask."""
        return FirstTokens(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def added_s(loops: FirstTokens, constants: Mapping[str, float], tpot_s: Numbers) -> Numbers:
    """Seconds that are added to simulated first tokens; constants that are not named are zero."""
    steps = constants.get("delay_steps", 0.0) + constants.get("delay_polls", 0.0) * (loops.poll_steps - 1)
    steps = steps + constants.get("handoff_steps", 0.0) * loops.disaggregated
    front = constants.get("input_token_s", 0.0) * loops.input_tokens
    return steps * tpot_s + front + constants.get("admission_s", 0.0) * loops.admitted_before()
