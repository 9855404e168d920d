"""The direct route on the quickstart's own expressions, domains cut so that both routes finish quickly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmopt_optimizer.core.direct import solve_direct
from llmopt_optimizer.core.program import Number, Pool, Program, System
from llmopt_optimizer.core.second_opinion import NAME, second_opinion
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.formulation.build import build_program, needed_only
from llmopt_optimizer.frozen import from_traffic
from llmopt_optimizer.scenario import resolve
from llmopt_problems import load

SMALL: dict[str, tuple[Number, ...]] = {
    "tp": (2, 4),
    "instances": (2, 4),
    "chunk_tokens": (2048,),
    "batch_cap": (64, 128),
}


def small(pool: Pool) -> Pool:
    """The pool with the domains of `SMALL`, where it has them."""
    variants = []
    for variant in pool.variants:
        decisions = tuple(
            replace(d, values=SMALL.get(d.symbol.name.split("_", 1)[1], d.values)) for d in variant.decisions
        )
        variants.append(replace(variant, decisions=decisions))
    return replace(pool, variants=tuple(variants))


@pytest.fixture(scope="module")
def quickstart() -> Program:
    scenario = resolve(load("quickstart"))
    frozen = from_traffic(scenario.traffic, prefix_cache=scenario.problem.search.prefix_cache)
    return build_program(scenario, frozen)


def restricted(program: Program, mode: str, objective: int) -> Program:
    """One mode and one objective of the program, on small domains."""
    system: System = program.system(mode)
    system = replace(system, pools=tuple(small(pool) for pool in system.pools))
    return needed_only(replace(program, systems=(system,), objectives=program.objectives[objective:][:1]))


@pytest.mark.parametrize(
    ("mode", "objective"), [("aggregated", 0), ("disaggregated", 0), ("disaggregated", 1)]
)
def test_both_routes_agree_on_the_quickstart(quickstart: Program, mode: str, objective: int) -> None:
    problem = restricted(quickstart, mode, objective)
    columns, direct = solve(problem), solve_direct(problem, seconds=60, check=False)
    assert columns.status is SolveStatus.OPTIMAL
    assert direct.status is SolveStatus.OPTIMAL, direct
    assert direct.objective == pytest.approx(columns.objective, rel=1e-6)


def test_the_second_opinion_confirms_the_quickstart(quickstart: Program) -> None:
    problem = restricted(quickstart, "disaggregated", 0)
    check = second_opinion(problem, solve(problem), seconds=60)
    assert (check.name, check.passed) == (NAME, True), check
