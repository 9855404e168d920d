"""`llmopt solve`: the search with what it keeps, so that nothing is lost and nothing is simulated twice.

Simulations go to a cache folder of the user and, with `--out`, to `DIR/state` beside the problem that they
belong to. A search that was interrupted or ran out of time is resumed from there: it takes the same course,
reads what was simulated before, and so ends with the answer of an uninterrupted one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmopt_optimizer.cli.commands import REPORT, Inputs
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.loop.workers import Place, workers_at
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.table import console_for, print_result
from llmopt_optimizer.output.writing import document_text, write
from llmopt_optimizer.result import Result, Status
from llmopt_problems import Problem

STATE = "state"
FREE = ("limits", "name")
"""What may differ between a search and its resumption."""
CODES = {
    Status.PROVEN: ExitCode.SOLVED,
    Status.FEASIBLE: ExitCode.SOLVED,
    Status.INFEASIBLE: ExitCode.INFEASIBLE,
    Status.FAILED: ExitCode.FAILED,
}
"""What the shell learns of a result."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where answers and simulations go, and where these run."""

    out: Path | None
    cache: Path | None
    """None: a folder of the user."""
    resume: bool
    report: bool
    plot: bool
    """Write the front as PNG and SVG too."""
    place: Place
    """Where simulations run."""

    @property
    def state(self) -> Path | None:
        """Where an unfinished search is kept."""
        return None if self.out is None else self.out / STATE

    def caches(self) -> tuple[Path, ...]:
        """The folders of simulations."""
        mine = () if self.state is None else (self.state / "simulations",)
        return (*mine, self.cache or user_cache())


def user_cache() -> Path:
    """The folder in which this user's simulations are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmopt" / "simulations"


def run_solve(inputs: Inputs, keeping: Keeping, *, as_json: bool, quiet: bool) -> ExitCode:
    """Solve, write to `keeping.out` (nothing when the solve failed), print the answer; the report is last."""
    from llmopt_optimizer.cli.progress import progress_shown
    from llmopt_optimizer.loop import solve_problem
    from llmopt_optimizer.loop.solve import SolveInterrupted

    if keeping.plot:
        _require_plots(keeping)
    problem = inputs.load_any()
    if not isinstance(problem, Problem):
        from llmopt_optimizer.cli.planning import run_plan

        return run_plan(problem, keeping, as_json=as_json, quiet=quiet)
    _opened(keeping, problem)
    try:
        with workers_at(keeping.place) as workers, progress_shown(quiet) as tell:
            result = solve_problem(problem, progress=tell, caches=keeping.caches(), workers=workers)
    except SolveInterrupted as interrupt:
        return _interrupted(interrupt.result, problem, keeping)
    _written(result, problem, keeping)
    _show(result, problem, as_json=as_json, quiet=quiet)
    if keeping.out is not None and keeping.report and result.status is not Status.FAILED:
        from llmopt_optimizer.cli.reporting import write_report

        write_report(result, problem, keeping.out / REPORT)
    if keeping.plot and keeping.out is not None and result.front:
        _plotted(result, keeping.out)
    return CODES[result.status]


def _require_plots(keeping: Keeping) -> None:
    """Known before the search, not after it."""
    if keeping.out is None:
        raise InputError("--plot needs --out DIR, the folder for front.png and front.svg")
    if find_spec("matplotlib") is None:
        raise InputError("--plot draws with matplotlib: pip install 'llmopt[plot]'")


def _plotted(result: Result, out: Path) -> None:
    from llmopt_optimizer.report.figures.front import front
    from llmopt_optimizer.report.still import pictures

    drawn = pictures(front(result), result.problem_name)
    write_files(out, {f"front.{kind}": content for kind, content in drawn.items()})


def _opened(keeping: Keeping, problem: Problem) -> None:
    """Prepare the folders; with `--resume`, only for the search that is kept there."""
    if keeping.resume:
        _require_same(keeping, problem)
    if keeping.out is not None and keeping.state is not None:
        prepare_directory(keeping.out)
        prepare_directory(keeping.state)
        write_files(keeping.state, {"problem.json": json.dumps(_asked(problem))})


def _asked(problem: Problem) -> dict[str, Any]:
    return problem.model_dump(mode="json", exclude_none=True)


def _require_same(keeping: Keeping, problem: Problem) -> None:
    if keeping.state is None:
        raise InputError("--resume needs --out DIR, the folder of the search that is to go on")
    try:
        kept = json.loads((keeping.state / "problem.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{keeping.out} holds no unfinished search: solve without --resume to begin one"
        ) from error
    asked = _asked(problem)
    differ = sorted(k for k in {*kept, *asked} - {*FREE} if kept.get(k) != asked.get(k))
    if differ:
        raise InputError(
            f"the search in {keeping.out} is of another problem, which differs in {', '.join(differ)}: give "
            "that problem, or solve without --resume"
        )


def _written(result: Result, problem: Problem, keeping: Keeping) -> None:
    if keeping.out is None or keeping.state is None or result.status is Status.FAILED:
        return
    write(result, problem, keeping.out)
    if result.status in (Status.PROVEN, Status.INFEASIBLE):
        shutil.rmtree(keeping.state, ignore_errors=True)


def _interrupted(result: Result, problem: Problem, keeping: Keeping) -> ExitCode:
    """Keep what is verified, and say how to go on."""
    if result.front:
        _written(result, problem, keeping)
    count = len(result.front)
    kept = "nothing was verified yet" if not count else f"{count} verified deployments"
    if keeping.out is None:
        print(f"interrupted: {kept}; simulations are kept, solve again to go on", file=sys.stderr)
    else:
        kept += f" are in {keeping.out}" if count else ""
        print(f"interrupted: {kept}; add --resume to the same command to go on", file=sys.stderr)
    return ExitCode.INTERRUPTED


def _show(result: Result, problem: Problem, *, as_json: bool, quiet: bool) -> None:
    if result.status is Status.FAILED:
        print(f"failed: {result.message or result.status.sentence}", file=sys.stderr)
    if quiet:
        return
    if as_json:
        sys.stdout.write(document_text(result, problem))
    else:
        print_result(result, console_for(sys.stdout))
