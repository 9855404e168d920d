"""What the commands do: read the problem, call the library, write and print the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llmopt_optimizer.cli.outcome import ExitCode
from llmopt_problems import AnyProblem, Problem, load, load_any

REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Inputs:
    """A problem as the command line names it: file or example, and changes to it."""

    problem: str
    overrides: tuple[str, ...]

    @classmethod
    def of(
        cls,
        problem: str,
        overrides: Sequence[str] | None,
        seed: int | None = None,
        time_limit: str | None = None,
        coefficients: Path | None = None,
    ) -> Self:
        """The inputs with the other options spelled as overrides, so that they win over `--set`."""
        seeds = () if seed is None else (f"verification.seed={seed}",)
        limits = () if time_limit is None else (f"limits.time={time_limit}",)
        # A JSON text is a YAML one; the folder is meant from here, not from the problem file.
        folders = (
            () if coefficients is None else (f"coefficients={json.dumps(str(coefficients.absolute()))}",)
        )
        return cls(problem, (*(overrides or ()), *seeds, *limits, *folders))

    def load(self) -> Problem:
        """The checked problem of one deployment; raises `ProblemError`."""
        return load(self.problem, self.overrides)

    def load_any(self) -> AnyProblem:
        """The checked problem, whatever its kind; raises `ProblemError`."""
        return load_any(self.problem, self.overrides)


def run_check(inputs: Inputs) -> ExitCode:
    """Read the problem and say in a few lines what was understood."""
    from llmopt_optimizer.output.summary import any_summary

    print(any_summary(inputs.load_any()))
    return ExitCode.SOLVED


def run_schema() -> ExitCode:
    """Print the JSON Schema of problem files."""
    from llmopt_problems import json_schema

    print(json.dumps(json_schema(), indent=2))
    return ExitCode.SOLVED
