"""Solving any problem that asks for many groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmopt_optimizer.fleet.cluster import solve_cluster
from llmopt_optimizer.fleet.plan import PlanResult
from llmopt_optimizer.loop.workers import Workers
from llmopt_optimizer.result import Progress
from llmopt_problems.schema.kinds import PlanProblem


def solve_plan(
    problem: PlanProblem,
    *,
    progress: Callable[[Progress], None] | None = None,
    caches: tuple[Path, ...] = (),
    workers: Workers | None = None,
) -> PlanResult:
    """The best plan within the problem's time limit; see `solve_cluster`."""
    return solve_cluster(problem, progress=progress, caches=caches, workers=workers)
