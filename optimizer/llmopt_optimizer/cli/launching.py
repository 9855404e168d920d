"""`llmopt launch`: from a stored result to the file that starts one of its deployments."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.launch.targets import Choices, Launch, Target, launch
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.record import ResultDocument, read_document
from llmopt_optimizer.result import Point
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """The command line of `llmopt launch`."""

    result: Path
    target: str | None
    point: int
    out: Path | None
    engine_version: str | None
    model: str | None
    image: str | None


def run_launch(request: LaunchRequest) -> ExitCode:
    """Write the file of the chosen deployment to the directory `out`, or print it."""
    document = read_document(request.result)
    made = _launch(document, request)
    if request.out is None:
        sys.stdout.write(made.text)
    else:
        write_files(prepare_directory(request.out), {made.file_name: made.text})
        print(request.out / made.file_name)
    return ExitCode.SOLVED


def _launch(document: ResultDocument, request: LaunchRequest) -> Launch:
    problem = Problem.model_validate(document.problem)
    chosen = _point(document, request.point)
    target = _target(request.target or problem.engine)
    title = (
        f"{problem.name}, deployment {request.point} of {len(document.result.front)}; made by llmopt launch"
    )
    choices = Choices(target, request.engine_version, request.model, request.image)
    return launch(resolve(problem), chosen.deployment, choices, title)


def _point(document: ResultDocument, number: int) -> Point:
    front = document.result.front
    if not front:
        raise InputError(f"the result has no deployment to launch: its status is {document.result.status}")
    if number > len(front):
        raise InputError(f"--point {number}: the front has {len(front)} deployments, counted from 1")
    return front[number - 1]


def _target(text: str) -> Target:
    for target in get_args(Target):
        if text == target:
            return target
    raise InputError(f"--target {text}: give one of {', '.join(get_args(Target))}")
