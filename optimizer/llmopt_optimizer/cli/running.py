"""The command that simulates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Coefficients, Debug, Overrides, Problem, Seed, finish
from .outcome import ExitCode


def simulate(
    problem: Problem,
    deployment: Annotated[
        str,
        typer.Option(
            "--deployment",
            metavar="DEPLOYMENT",
            help="A JSON or YAML file, JSON text, 'tp=4,instances=2', or 'prefill.tp=4,decode.tp=8'.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the JSON here instead of printing it.")
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option("--timeline", metavar="FILE", help="Write the first run as a Chrome trace (.json)."),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option("--requests", metavar="FILE", help="Write its requests (.csv or .parquet)."),
    ] = None,
    series: Annotated[
        Path | None, typer.Option("--series", metavar="FILE", help="Write its time series (.csv).")
    ] = None,
    overrides: Overrides = None,
    coefficients: Coefficients = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Simulate one deployment and print its metrics as JSON."""

    def work() -> ExitCode:
        from .commands import Inputs, run_simulate
        from .looking import Looks

        inputs = Inputs.of(problem, overrides, seed, coefficients=coefficients)
        return run_simulate(inputs, deployment, out, Looks(timeline, requests, series))

    finish(work, debug)
