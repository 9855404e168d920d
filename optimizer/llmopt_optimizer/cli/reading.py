"""The commands that read a result: explain it, show it, launch it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Debug, Json, Overrides, Result, finish
from .outcome import ExitCode


def explain(
    source: Annotated[
        str,
        typer.Argument(metavar="RESULT|PROBLEM", help="A result.json, the directory of one, or a problem."),
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DEPLOYMENT", help="What runs today, as `simulate` takes it."),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say why an answer is what it is: what binds, what levels cost, what moves what, who came next."""

    def work() -> ExitCode:
        from .explaining import run_explain

        return run_explain(source, overrides, against, as_json=json)

    finish(work, debug)


def report(
    result: Result,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page; default: report.html beside RESULT."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the page that explains RESULT: one HTML file that opens without a network."""

    def work() -> ExitCode:
        from .reporting import run_report

        return run_report(result, out)

    finish(work, debug)


def launch(
    result: Result,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="[sglang|vllm|dynamo|llm-d|kubernetes]",
            help="What starts it; default: the engine of the problem.",
        ),
    ] = None,
    point: Annotated[
        int,
        typer.Option("--point", min=1, help="Which deployment of the front, as the printed table counts."),
    ] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the file here instead of printing it.")
    ] = None,
    engine_version: Annotated[
        str | None,
        typer.Option("--engine-version", help="Version of SGLang or vLLM; default: the newest known."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="REPOSITORY|PATH", help="The weights to serve.")
    ] = None,
    image: Annotated[str | None, typer.Option("--image", help="Container image for manifests.")] = None,
    debug: Debug = False,
) -> None:
    """Print the commands or the manifest that start a deployment of RESULT."""

    def work() -> ExitCode:
        from .launching import LaunchRequest, run_launch

        return run_launch(LaunchRequest(result, target, point, out, engine_version, model, image))

    finish(work, debug)
