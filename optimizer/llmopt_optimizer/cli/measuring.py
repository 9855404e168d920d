"""The commands that measure and calibrate a machine of one's own: their arguments, as in `app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .outcome import ExitCode, exit_code

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")]


def calibrate(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCES...", help="Files or folders of measured operator times.")
    ],
    accelerator: Annotated[
        str | None, typer.Option("--accelerator", metavar="NAME", help="What was measured, a catalog name.")
    ] = None,
    hardware: Annotated[
        Path | None,
        typer.Option("--hardware", metavar="FILE", help="A YAML description, where the catalog has none."),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="ENGINE", help="sglang, vllm or trtllm.")
    ] = "sglang",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Write the coefficient file and the report here.")
    ] = Path(),
    on: Annotated[
        str | None, typer.Option("--date", metavar="DATE", help="Date of the fit, ISO; default: today.")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write an HTML report with plots (extra `report`).")] = True,
    debug: Debug = False,
) -> None:
    """Fit the operator laws to measured times of one accelerator under one engine."""

    def work() -> ExitCode:
        from .calibration import Calibrating, run_calibrate

        return run_calibrate(Calibrating(tuple(sources), accelerator, hardware, engine, out, on, report))

    raise typer.Exit(exit_code(work, debug))
