"""The quick-start problem to a proof that covers the simulator, in this process, nothing cached."""

from __future__ import annotations

from harness import Figure, Outcome, Phase, timed

from llmopt_optimizer.loop import solve_problem
from llmopt_optimizer.result import Status
from llmopt_problems import load

SMOKE = ("verification.requests=200", "verification.replications=2", "verification.audit=20")


def run(smoke: bool) -> Outcome:
    """Solve once; the simulator is compiled by a first, tiny solve."""
    solve_problem(load("quickstart", (*SMOKE, "verification.max_rounds=1")))
    problem = load("quickstart", SMOKE if smoke else ())
    result, whole = timed("solve", lambda: solve_problem(problem))
    figures = (
        Figure("seconds", whole.wall_s, "s"),
        Figure("cpu_seconds", whole.cpu_s, "s"),
        Figure("gap", result.gap, "relative"),
        Figure("proven", float(result.status is Status.PROVEN), "of 1"),
        Figure("simulated", sum(turn.simulated for turn in result.rounds), "deployments"),
        Figure("rounds", len(result.rounds), "rounds"),
        Figure("front_size", len(result.front), "deployments"),
    )
    return Outcome(figures, (Phase("solve", whole.wall_s, whole.cpu_s),))
