"""`llmopt explain`: why an answer is what it is."""

from __future__ import annotations

import sys
from pathlib import Path

from llmopt_optimizer.cli.commands import Inputs
from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.cli.outcome import ExitCode
from llmopt_optimizer.cli.solving import user_cache
from llmopt_optimizer.explanation import explained
from llmopt_optimizer.loop import solve_problem
from llmopt_optimizer.loop.store import Store
from llmopt_optimizer.output.explanation import explanation_json, explanation_text
from llmopt_optimizer.output.record import read_document
from llmopt_optimizer.result import Result
from llmopt_problems import Problem


def run_explain(source: str, overrides: list[str] | None, against: str | None, *, as_json: bool) -> ExitCode:
    """Explain a stored result, or solve a problem first and explain that."""
    problem, result = _answered(source, overrides)
    today = None if against is None else parse_deployment(against, problem)
    found = explained(problem, result, today, Store((user_cache(),)))
    sys.stdout.write(explanation_json(found) if as_json else explanation_text(found))
    return ExitCode.SOLVED


def _answered(source: str, overrides: list[str] | None) -> tuple[Problem, Result]:
    path = Path(source)
    if path.is_dir() or path.suffix == ".json":
        document = read_document(path)
        return Problem.model_validate(document.problem), document.result
    problem = Inputs.of(source, overrides).load()
    return problem, solve_problem(problem, caches=(user_cache(),))
