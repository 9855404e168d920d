"""Arguments that several commands share, and how a command ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from .outcome import ExitCode, exit_code

Problem = Annotated[
    str, typer.Argument(metavar="PROBLEM", help="A problem file, or the name of a bundled example.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Change one value of the problem, e.g. slo.0.at_most='1 s'."
    ),
]
Coefficients = Annotated[
    Path | None,
    typer.Option(
        "--coefficients",
        metavar="DIR",
        help="Coefficient files of `llmopt calibrate`, before the bundled ones.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the simulations.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")]
Result = Annotated[
    Path, typer.Argument(metavar="RESULT", help="A result.json, or the directory that a solve wrote.")
]


def finish(work: Callable[[], ExitCode], debug: bool) -> None:
    """Run `work` and end the command with its exit code."""
    raise typer.Exit(exit_code(work, debug))
