"""What `llmopt.solve` hands to Python: a result with its problem, its data frames and its printed form."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from llmopt_optimizer.output import frames
from llmopt_optimizer.output.table import console_for, print_result
from llmopt_optimizer.output.writing import write
from llmopt_optimizer.result import Point, Result, Status

if TYPE_CHECKING:
    import pandas as pd

    from llmopt_optimizer.fleet.plan import PlanResult
    from llmopt_problems import Problem
    from llmopt_problems.schema import PlanProblem


@dataclass(frozen=True, slots=True)
class Answer:
    """A solved problem. Printing it gives the table of the command line."""

    problem: Problem
    result: Result

    @property
    def status(self) -> Status:
        """How the answer may be read: proven, feasible, infeasible or failed."""
        return self.result.status

    @property
    def best(self) -> Point | None:
        """The verified deployment that is best in the first objective; None when none is verified."""
        return self.result.front[0] if self.result.front else None

    @property
    def pareto(self) -> pd.DataFrame:
        """Verified deployments, one row each: the content of `pareto.csv`."""
        return frames.front(self.result)

    @property
    def cut(self) -> pd.DataFrame:
        """Deployments that simulation refused, with the columns of `pareto`."""
        return frames.cut(self.result)

    @property
    def metrics(self) -> pd.DataFrame:
        """Predicted and simulated metrics of the verified deployments, one row a deployment and metric."""
        return frames.metrics(self.result)

    @property
    def rounds(self) -> pd.DataFrame:
        """One row a round of the loop."""
        return frames.rounds(self.result)

    @property
    def checks(self) -> pd.DataFrame:
        """One row an independent check of the solver's claims."""
        return frames.checks(self.result)

    def write(self, directory: str | Path) -> tuple[Path, ...]:
        """Write `pareto.csv` and `result.json` into `directory`, and give their paths."""
        return write(self.result, self.problem, directory)

    def __str__(self) -> str:
        """The printed table, plain and 120 columns wide."""
        text = StringIO()
        print_result(self.result, console_for(text))
        return text.getvalue()


@dataclass(frozen=True, slots=True)
class Plan:
    """A solved problem of many groups. Printing it gives the text of the command line."""

    problem: PlanProblem
    result: PlanResult

    @property
    def status(self) -> Status:
        """How the plan may be read: proven, feasible, infeasible or failed."""
        return self.result.status

    @property
    def groups(self) -> pd.DataFrame:
        """One row for the equal groups of each time slot: the content of `plan.csv`."""
        from llmopt_optimizer.output import plan_frames

        return plan_frames.groups(self.result)

    def write(self, directory: str | Path) -> tuple[Path, ...]:
        """Write `plan.csv` and `plan.json` into `directory`, and give their paths."""
        from llmopt_optimizer.output.plan_files import write_plan

        return write_plan(self.result, self.problem, directory)

    def __str__(self) -> str:
        """The printed text, plain and 120 columns wide."""
        from llmopt_optimizer.output.plan_text import print_plan

        text = StringIO()
        print_plan(self.result, console_for(text))
        return text.getvalue()
