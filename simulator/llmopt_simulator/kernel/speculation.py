"""Tokens of speculating sequences, drawn one by one and yet never touched in a step.

What a sequence makes in a step depends on its own random numbers alone: a number for each place of its answer
at which a step may begin. So all its steps are drawn when it joins the batch, and entered into its rank's
*agenda*: for every decode step to come, how many sequences make n tokens in it. The step at which it ends
goes into the completion heap as without speculation, a step adds its line of the agenda to the sums, and a
retraction draws again to strike the rest out. The agenda is a ring as long as the longest answer.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.state import State


@inner
def produced_at_join(s: State, request: int) -> int:
    """Tokens of the answer that a request has when its prefill has ended."""
    q = s.requests[request]
    return q.prompt_tokens + 1 - q.input_tokens


@inner
def draw_tokens(s: State, request: int, produced: int) -> int:
    """Tokens that the step makes which begins when `produced` are out, never more than are left."""
    u, tokens = _uniform(s, request, produced), 1
    most = min(s.requests[request].output_tokens - produced, len(s.survival) + 1)
    while tokens < most and u < s.survival[tokens - 1]:
        tokens += 1
    return tokens


@inner
def _uniform(s: State, request: int, place: int) -> float:
    """A number in [0, 1) of the request's own stream, SplitMix64 (Steele, Lea, Flood 2014), at a place."""
    z = _mix(s.settings[0].stream + np.uint64(request) * np.uint64(0x9E3779B97F4A7C15))
    z = _mix(z + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15))
    return float(z >> np.uint64(11)) * 2.0**-53


@inner
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inner
def steps_to_end(s: State, r: int, request: int) -> int:
    """Decode steps of rank `r` that a request which joins its batch will take."""
    q = s.requests[request]
    if s.ranks[r].verify == 1:
        return q.input_tokens + q.output_tokens - q.prompt_tokens - 1
    produced, steps = produced_at_join(s, request), 0
    while produced < q.output_tokens:
        produced += draw_tokens(s, request, produced)
        steps += 1
    return steps


@inner
def produced_before(s: State, r: int, request: int, step: int) -> int:
    """Tokens of the answer of a running request when decode step number `step` of its rank begins."""
    q, produced = s.requests[request], produced_at_join(s, request)
    if s.ranks[r].verify == 1:
        return produced + step - q.begins
    for _ in range(step - q.begins):
        produced += draw_tokens(s, request, produced)
    return produced


@inner
def enter(s: State, r: int, request: int, begin: int, change: int) -> None:
    """Enter a running request's steps from number `begin` on into the agenda, or strike them (change -1)."""
    if s.ranks[r].verify == 1:
        return
    produced = produced_before(s, r, request, begin)
    for step in range(begin, s.requests[request].ends):
        tokens = draw_tokens(s, request, produced)
        s.agenda[agenda_line(s, r, step), tokens] += change
        produced += tokens


@inner
def agenda_line(s: State, r: int, step: int) -> int:
    """Where the agenda of a rank has a decode step."""
    return r * s.settings[0].ring + step % s.settings[0].ring


@inner
def tokens_of_step(s: State, r: int, step: int) -> int:
    """Tokens that the sequences of rank `r` make in a decode step of the run that is planned."""
    if s.ranks[r].verify == 1:
        return s.ranks[r].decodes
    total, line = 0, agenda_line(s, r, step)
    for tokens in range(1, s.agenda.shape[1]):
        total += tokens * s.agenda[line, tokens]
    return total


@inner
def forget_step(s: State, r: int, step: int) -> None:
    """Clear the line of a step that has been made."""
    if s.ranks[r].verify > 1:
        line = agenda_line(s, r, step)
        for tokens in range(s.agenda.shape[1]):
            s.agenda[line, tokens] = 0
