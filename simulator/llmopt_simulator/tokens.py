"""When every token of a request came, on request: from the steps of a repeated run.

A decoding sequence makes one token in every step of its engine that decodes, from its first token to its
last; so the ends of those steps are its token times. Where that does not hold (speculation makes several
tokens a step, a retracted request computes its prompt again, ranks of one engine that prefill while others
decode) the count does not fit, and the request is refused instead of guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.errors import SimulationError
from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run
from llmopt_simulator.steps import logged_steps

Floats = NDArray[np.float64]


def token_times(run: Run) -> list[Floats]:
    """Times of the tokens of every request in seconds, shape (output_tokens,); empty for rejected ones.

    Raises `SimulationError` for runs that speculate or have retracted a request.
    """
    _check(run)
    steps = _decode_steps(run)
    sent_to = run.column("decode_rank")
    rank = np.where(sent_to >= 0, sent_to, run.column("rank"))
    engine = run.state.ranks["engine"][rank]
    first, last = run.column("first_token_s"), run.column("finish_s")
    outputs = run.column("output_tokens")
    return [
        _times(steps[int(engine[i])], first[i], last[i], int(outputs[i])) if served else np.zeros(0)
        for i, served in enumerate(run.finished)
    ]


def _check(run: Run) -> None:
    if any(pool.speculation is not None for pool in run.deployment.pools):
        raise SimulationError("token times: a speculating step makes several tokens; remove speculation")
    if run.column("retractions").any():
        raise SimulationError("token times: requests were retracted; give the KV cache more room")


def _decode_steps(run: Run) -> Mapping[int, k.Records]:
    """The steps that decode, ascending, by engine."""
    steps = logged_steps(run)
    steps = steps[steps["decodes"] > 0]
    return {e: steps[steps["engine"] == e] for e in range(len(run.state.engines))}


def _times(steps: k.Records, first_s: float, last_s: float, tokens: int) -> Floats:
    """A sequence joins the steps that start at its first token or later: before, its KV was not there."""
    ends = steps["end_s"]
    start = np.searchsorted(steps["start_s"], first_s, side="left")
    stop = max(start, np.searchsorted(ends, last_s, side="right"))
    if stop - start != tokens - 1:
        what = f"{stop - start} steps decode between the first and the last of {tokens} tokens"
        raise SimulationError(f"token times: {what}; ranks of one engine may prefill while others decode")
    return np.concatenate([[first_s], ends[start:stop]])
