"""One deployment of more than a billion combinations, two objectives: the complete certified front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rivals
from harness import Figure, Outcome, Phase, timed

from llmopt_optimizer.core.pareto import Front, pareto
from llmopt_optimizer.core.preparation import CompiledProgram, compile_program
from llmopt_optimizer.core.program import Program
from llmopt_optimizer.formulation.build import build_program, needed_only
from llmopt_optimizer.frozen import from_traffic
from llmopt_optimizer.scenario import resolve
from llmopt_problems import load

WIDE = (
    "hardware.accelerators.0.count=64",
    "search.instances={range: {min: 1, max: 64, step: 1}}",
    "search.pp={choices: [1, 2, 4]}",
    "search.chunk_tokens={range: {min: 512, max: 16384, step: 512}}",
    "search.batch_cap={range: {min: 8, max: 512, step: 8}}",
    'traffic.arrivals.rate="30 req/s"',
)


@dataclass(frozen=True, slots=True)
class Solved:
    """A problem's program with its front."""

    program: Program
    compiled: CompiledProgram
    front: Front
    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """Wall seconds of all phases."""
        return sum(phase.wall_s for phase in self.phases)

    @property
    def costs(self) -> np.ndarray:
        """Signed objectives of the front's points."""
        signs = np.array([objective.sign for objective in self.program.objectives])
        return np.array([point.objectives for point in self.front.points]) * signs


def solved(*changes: str) -> Solved:
    """The front of the quick-start problem with changes, from its text to its certificate."""
    program, building = timed("expressions", lambda: _program(changes))
    compiled, compiling = timed("compile", lambda: compile_program(program))
    front, solving = timed("front", lambda: pareto(program, compiled))
    if not front.complete:
        raise RuntimeError(f"the front is not complete: {front.message} {front.checks}")
    return Solved(program, compiled, front, (building, compiling, solving))


def _program(changes: tuple[str, ...]) -> Program:
    scenario = resolve(load("quickstart", changes))
    frozen = from_traffic(scenario.traffic, prefix_cache=scenario.problem.search.prefix_cache)
    return needed_only(build_program(scenario, frozen))


def compared(found: Solved, smoke: bool) -> tuple[Figure, ...]:
    """The same question to the other ways, in the time that the front took or a little more."""
    brute_s = rivals.brute_force_seconds(found.program, found.compiled, 2_000 if smoke else 200_000)
    cpu_s = sum(phase.cpu_s for phase in found.phases)
    evolved = rivals.nsga2(found.program, found.compiled, 2 if smoke else max(2.0, 2 * found.seconds))
    scip_s, proved = rivals.direct_scip(found.program, 2 if smoke else 60)
    size = float(len(found.front.points))
    return (
        Figure("seconds", found.seconds, "s", brute_s),
        Figure("cpu_seconds", cpu_s, "s"),
        Figure("combinations", float(found.program.size), "assignments"),
        Figure("front_points", size, "points"),
        Figure(
            "nsga2_points_found_in_twice_the_time", float(rivals.shared(evolved, found.costs)), "points", size
        ),
        Figure("scip_seconds_first_objective", scip_s, "s"),
        Figure("scip_proved", float(proved), "of 1"),
    )


def run(smoke: bool) -> Outcome:
    """Solve, then ask the others."""
    found = solved(*(WIDE[:2] if smoke else WIDE))
    return Outcome(compared(found, smoke), found.phases)
