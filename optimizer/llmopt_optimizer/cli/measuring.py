"""The commands that measure, calibrate and validate: their arguments, as in `app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Debug, finish
from .outcome import ExitCode


def calibrate(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCES...", help="Files or folders of measured operator times.")
    ],
    accelerators: Annotated[
        list[str] | None,
        typer.Option(
            "--accelerator",
            metavar="NAME",
            help="What was measured, a catalog name; several are also predicted by one another.",
        ),
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
    report: Annotated[bool, typer.Option(help="Write an HTML report with plots.")] = True,
    residual: Annotated[
        bool, typer.Option("--residual", help="Learn a correction on top of each law (extra `residual`).")
    ] = False,
    debug: Debug = False,
) -> None:
    """Fit the operator laws to measured times of one accelerator under one engine."""

    def work() -> ExitCode:
        from .calibration import Calibrating, run_calibrate

        named = tuple(accelerators or ())
        asked = Calibrating(tuple(sources), named, hardware, engine, out, on, report, residual)
        return run_calibrate(asked)

    finish(work, debug)


def profile(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The CSV; rows of an earlier run there are kept.")
    ],
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="cuda, cuda:1, … or cpu.")
    ] = "cuda",
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="[tiny|quick|full]", help="Default: full on a GPU, tiny on a CPU."),
    ] = None,
    families: Annotated[
        list[str] | None,
        typer.Option("--family", metavar="FAMILY", help="Only this operator family; may be repeated."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure the operators on this machine through PyTorch (extra `profile`), for `calibrate` to read."""

    def work() -> ExitCode:
        from .profiling import run_profile

        return run_profile(device, size, tuple(families or ()), out)

    finish(work, debug)


def validate(
    points: Annotated[
        Path,
        typer.Argument(
            metavar="POINTS", help="A CSV of serving points, or a result of SGLang's or vLLM's benchmark."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Write the rows with their predictions here.")
    ],
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes that simulate side by side.")
    ] = 2,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="NAME=VALUE,…", help="For a benchmark's result: system=H200-SXM,tp=8."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Predict mean TTFT and TPOT of every row of POINTS and print how far off they are."""

    def work() -> ExitCode:
        from .validation import run_validate

        return run_validate(points, out, processes, server)

    finish(work, debug)
