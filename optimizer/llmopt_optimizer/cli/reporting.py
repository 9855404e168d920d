"""`llmopt report`: the page of a stored result."""

from __future__ import annotations

from pathlib import Path

from llmopt_optimizer.cli.commands import REPORT
from llmopt_optimizer.cli.outcome import ExitCode
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.record import read_document
from llmopt_optimizer.report.page import report_text
from llmopt_optimizer.result import Result
from llmopt_problems import Problem


def run_report(source: Path, out: Path | None) -> ExitCode:
    """Write the page to `out`, or beside the result, and print where it is."""
    document = read_document(source)
    target = out or (source if source.is_dir() else source.parent) / REPORT
    write_report(document.result, Problem.model_validate(document.problem), target)
    print(target)
    return ExitCode.SOLVED


def write_report(result: Result, problem: Problem, target: Path) -> None:
    """Write the page to `target`, whole or not at all."""
    prepare_directory(target.parent)
    write_files(target.parent, {target.name: report_text(result, problem)})
