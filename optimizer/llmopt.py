"""The facade: `import llmopt`, `python -m llmopt`.

    answer = llmopt.solve(llmopt.load("problem.yaml"))
    print(answer)
    answer.pareto            # a pandas DataFrame, one row a verified deployment
    answer.write("out")

Importing loads nothing of the library; each name fetches what it needs when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from llmopt_optimizer import symbolic as symbolic
    from llmopt_optimizer.answer import Answer, Plan
    from llmopt_optimizer.loop import Simulation
    from llmopt_optimizer.result import Progress
    from llmopt_problems import AnyProblem, Problem
    from llmopt_problems import catalog as catalog
    from llmopt_problems.deployment import Deployment
    from llmopt_problems.schema import PlanProblem

__all__ = ["catalog", "load", "load_any", "plan", "simulate", "solve", "symbolic"]


def load(path: str | Path, overrides: Sequence[str] = ()) -> Problem:
    """The deployment problem in a file, or the bundled example of that name, with overrides applied.

    Raises `llmopt_problems.errors.ProblemError`, whose text says what is wrong, where, and what to do; also
    for a problem of another kind, which `load_any` reads.
    """
    from llmopt_problems import load as load_problem

    return load_problem(path, overrides)


def load_any(path: str | Path, overrides: Sequence[str] = ()) -> AnyProblem:
    """The problem in a file, whatever its `kind`; otherwise as `load`."""
    from llmopt_problems import load_any as load_problem

    return load_problem(path, overrides)


def solve(
    problem: Problem, progress: Callable[[Progress], None] | None = None, parallel: str = "threads"
) -> Answer:
    """The verified Pareto-optimal deployments of `problem`, what was refused, and how far the proof goes.

    `parallel` is where simulations run, as in `llmopt solve --parallel`.
    """
    from llmopt_optimizer.answer import Answer
    from llmopt_optimizer.loop import solve_problem
    from llmopt_optimizer.loop.workers import place, workers_at

    with workers_at(place(parallel)) as workers:
        return Answer(problem, solve_problem(problem, progress=progress, workers=workers))


def plan(
    problem: PlanProblem, progress: Callable[[Progress], None] | None = None, parallel: str = "threads"
) -> Plan:
    """The best verified plan of a problem that asks for many groups: `mixed` or `sizing`."""
    from llmopt_optimizer.answer import Plan
    from llmopt_optimizer.fleet.solve import solve_plan
    from llmopt_optimizer.loop.workers import place, workers_at

    with workers_at(place(parallel)) as workers:
        return Plan(problem, solve_plan(problem, progress=progress, workers=workers))


def simulate(problem: Problem, deployment: Deployment | str) -> Simulation:
    """The simulated metrics of one deployment under the traffic of `problem`.

    `deployment` may be the text that `llmopt simulate --deployment` takes, such as `"tp=4,instances=2"`.
    """
    from llmopt_optimizer.cli.deployment_text import parse_deployment
    from llmopt_optimizer.loop import simulate_problem

    chosen = parse_deployment(deployment, problem) if isinstance(deployment, str) else deployment
    return simulate_problem(problem, chosen)


def __getattr__(name: str) -> Any:
    """`llmopt.catalog`, `llmopt.symbolic` and `llmopt.__version__`, fetched when they are asked for."""
    modules = {"catalog": "llmopt_problems.catalog", "symbolic": "llmopt_optimizer.symbolic"}
    if name in modules:
        from importlib import import_module

        return import_module(modules[name])
    if name == "__version__":
        from importlib.metadata import version

        return version("llmopt")
    raise AttributeError(f"module 'llmopt' has no attribute {name!r}")


if __name__ == "__main__":
    from llmopt_optimizer.cli import main

    main()
