"""Proposals: of every size the group that the expressions expect to carry the most, and how much.

The rate climbs a ladder of equal factors; at each rung and in each serving mode the smallest group within the
service levels is found, from the same program as a single deployment. What is left are the steps of a
staircase: groups that no smaller one matches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmopt_optimizer.core.preparation import CompiledProgram
from llmopt_optimizer.core.program import Assignment
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.fleet.lineup import Lineup

RUNG = 1.06
"""Factor between two rates that are tried."""
SMALLEST_RATE_PER_S = 1e-4
LARGEST_RATE_PER_S = 1e6
SOLVE_S = 20.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A group, and the rate that the expressions expect it to carry."""

    assignment: Assignment
    gpus: int
    rate_per_s: float


def proposals(lineup: Lineup, deadline: float | None = None) -> list[Proposal]:
    """The staircases of all serving modes, smallest groups first; what there was time for."""
    found: list[Proposal] = []
    for index in range(len(lineup.study.program.systems)):
        found += _staircase(_Mode(lineup, index), deadline)
    return sorted(found, key=lambda proposal: (proposal.gpus, -proposal.rate_per_s))


@dataclass(frozen=True, slots=True)
class _Mode:
    lineup: Lineup
    index: int

    def smallest(self, rate_per_s: float) -> Proposal | None:
        """The smallest group of the mode that keeps the levels at a rate, as the expressions expect it."""
        program = self.lineup.program_at(rate_per_s)
        one = replace(program, systems=program.systems[self.index : self.index + 1])
        compiled = self.lineup.study.compiled
        mine = slice(self.index, self.index + 1)
        reduced = CompiledProgram(compiled.systems[mine], compiled.pools[mine])
        result = solve(one, reduced, SOLVE_S, check=False)
        if result.assignment is None:
            return None
        return Proposal(result.assignment, round(result.objective), rate_per_s)


def _staircase(mode: _Mode, deadline: float | None) -> list[Proposal]:
    """Of every size the last rung before a larger group is needed."""
    steps: dict[int, Proposal] = {}
    for proposal in _climbed(mode):
        steps[proposal.gpus] = proposal
        if deadline is not None and time.monotonic() >= deadline:
            break
    return list(steps.values())


def _climbed(mode: _Mode) -> Iterator[Proposal]:
    """The smallest groups from the rate at which the smallest of all is full to where none is left."""
    first = mode.smallest(SMALLEST_RATE_PER_S)
    if first is None:
        return
    rate = SMALLEST_RATE_PER_S
    while (found := mode.smallest(4 * rate)) is not None and found.gpus == first.gpus:
        rate *= 4
    while rate < LARGEST_RATE_PER_S and (found := mode.smallest(rate)) is not None:
        yield found
        rate *= RUNG
