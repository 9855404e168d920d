"""`llmopt solve` of problems that ask for many groups: the plan is written and printed."""

from __future__ import annotations

import sys

from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.cli.solving import CODES, Keeping
from llmopt_optimizer.loop.workers import workers_at
from llmopt_optimizer.output.files import prepare_directory
from llmopt_optimizer.output.plan_files import plan_text, write_plan
from llmopt_optimizer.output.plan_text import print_plan
from llmopt_optimizer.output.table import console_for
from llmopt_optimizer.result import Status
from llmopt_problems.schema.kinds import PlanProblem


def run_plan(problem: PlanProblem, keeping: Keeping, *, as_json: bool, quiet: bool) -> ExitCode:
    """Solve, write to `keeping.out` (nothing when the solve failed) and print the plan."""
    from llmopt_optimizer.cli.progress import progress_shown
    from llmopt_optimizer.fleet.solve import solve_plan

    if keeping.resume:
        raise InputError(
            f"--resume is for one deployment: a {problem.kind} problem solved again reads its simulations "
            "from the cache and goes on by itself"
        )
    if keeping.out is not None:
        prepare_directory(keeping.out)
    with workers_at(keeping.place) as workers, progress_shown(quiet) as tell:
        result = solve_plan(problem, progress=tell, caches=keeping.caches(), workers=workers)
    if result.status is Status.FAILED:
        print(f"failed: {result.message}", file=sys.stderr)
    elif keeping.out is not None:
        write_plan(result, problem, keeping.out)
    if as_json and not quiet:
        sys.stdout.write(plan_text(result, problem))
    elif not quiet:
        print_plan(result, console_for(sys.stdout))
    return CODES[result.status]
