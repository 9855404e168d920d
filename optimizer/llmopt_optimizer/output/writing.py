"""The result directory of a solve: `pareto.csv` and `result.json`, written together."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from llmopt_optimizer.output import frames
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.record import result_text
from llmopt_optimizer.result import Result

if TYPE_CHECKING:
    from llmopt_problems import Problem


def write(result: Result, problem: Problem, directory: str | Path) -> tuple[Path, ...]:
    """Write `pareto.csv` and `result.json` into `directory` and give their paths.

    `pareto.csv` holds verified deployments only and, for an infeasible problem, none. Both files appear
    complete or the earlier ones stay. Raises `OutputError` when the directory cannot be written.
    """
    target = prepare_directory(directory)
    contents = {
        "pareto.csv": frames.front(result).to_csv(index=False, lineterminator="\n"),
        "result.json": document_text(result, problem),
    }
    write_files(target, contents)
    return tuple(target / name for name in contents)


def document_text(result: Result, problem: Problem) -> str:
    """The content of `result.json`."""
    asked = problem.model_dump(mode="json", exclude_none=True)
    return result_text(result, asked, version("llmopt"))
