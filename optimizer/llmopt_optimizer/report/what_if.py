"""What a looser or tighter limit would buy, read off everything that was simulated.

Verified and refused deployments are all simulated points, so "the best with p95 TTFT up to x" is a step
function of x that needs no further run. It speaks of the simulated deployments only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmopt_optimizer.result import Point, Result
from llmopt_problems import Problem
from llmopt_problems.schema.service import ServiceLevel


@dataclass(frozen=True, slots=True)
class Steps:
    """The best value of an objective as a limit is moved: `best[i]` from `limits[i]` on."""

    metric: str
    objective: str
    asked: float | None
    limits: tuple[float, ...]
    best: tuple[float, ...]


def level_steps(result: Result, problem: Problem) -> tuple[Steps, ...]:
    """For every upper bound on a latency, the best objective as this bound alone moves."""
    levels = [level for level in problem.slo if level.bound == "at_most" and level.is_latency]
    points = (*result.front, *result.cut)
    found = []
    for level in levels:
        others = [each for each in levels if each is not level]
        allowed = [point for point in points if all(_holds(point, each) for each in others)]
        found.append(_steps(allowed, level.key, level.value, result.objectives[0], result.senses[0]))
    return tuple(steps for steps in found if steps.limits)


def gpu_steps(result: Result, problem: Problem) -> Steps:
    """The best last objective as the number of accelerators is limited, among verified deployments."""
    offered = float(sum(offer.count for offer in problem.hardware.accelerators))
    return _steps(result.front, "gpus", offered, result.objectives[-1], result.senses[-1])


def _steps(points: Sequence[Point], metric: str, asked: float, objective: str, sense: str) -> Steps:
    known = [point for point in points if metric in point.simulated and objective in point.simulated]
    ordered = sorted(known, key=lambda point: point.simulated[metric].value)
    limits: list[float] = []
    best: list[float] = []
    for point in ordered:
        value = point.simulated[objective].value
        if not best or (value < best[-1] if sense == "minimize" else value > best[-1]):
            limits.append(point.simulated[metric].value)
            best.append(value)
    return Steps(metric, objective, asked, tuple(limits), tuple(best))


def _holds(point: Point, level: ServiceLevel) -> bool:
    estimate = point.simulated.get(level.key)
    return estimate is not None and estimate.value <= level.value
