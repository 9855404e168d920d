"""The whole main job on the bundled quick-start problem, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Figure, Outcome, Phase, timed

from llmopt_optimizer.output.record import read_result

SMOKE = ("verification.requests=200", "verification.replications=2", "verification.max_rounds=2")


def _solve(directory: str, smoke: bool) -> None:
    changes = [part for change in SMOKE for part in ("--set", change)] if smoke else []
    command = [sys.executable, "-m", "llmopt", "solve", "quickstart", "--out", directory, "--quiet", *changes]
    subprocess.run([*command, "--cache", f"{directory}/cache"], check=True)


def run(smoke: bool) -> Outcome:
    """Solve once in a process of its own; seconds include start-up. Only the compiled simulator is cached."""
    with tempfile.TemporaryDirectory() as directory:
        _, whole = timed("whole", lambda: _solve(directory, smoke))
        result = read_result(Path(directory))
    optimize_s = sum(turn.solve_seconds for turn in result.rounds)
    simulate_s = sum(turn.simulate_seconds for turn in result.rounds)
    figures = (
        Figure("seconds", whole.wall_s, "s"),
        Figure("cpu_seconds", whole.cpu_s, "s"),
        Figure("optimize_seconds", optimize_s, "s"),
        Figure("simulate_seconds", simulate_s, "s"),
        Figure("front_size", len(result.front), "deployments"),
        Figure("rounds", len(result.rounds), "rounds"),
    )
    return Outcome(figures, (Phase("whole", whole.wall_s, whole.cpu_s),))
