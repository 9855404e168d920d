"""The commands that read a problem: solve it, check it, export it, draw its metrics, tell its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Coefficients, Debug, Json, Overrides, Problem, Seed, finish
from .outcome import ExitCode


def solve(
    problem: Problem,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write pareto.csv, result.json, report.html here."),
    ] = None,
    overrides: Overrides = None,
    coefficients: Coefficients = None,
    seed: Seed = None,
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", metavar="TIME", help="Stop after this long, e.g. '2 min'.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Keep simulations here.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search kept in --out.")] = False,
    report: Annotated[bool, typer.Option(help="Write report.html too.")] = True,
    plot: Annotated[
        bool, typer.Option("--plot", help="Write the front as front.png and front.svg too.")
    ] = False,
    parallel: Annotated[
        str,
        typer.Option(
            "--parallel",
            metavar="WHERE",
            help="Simulate in threads, processes, ray://HOST:PORT or dask://HOST:PORT.",
        ),
    ] = "threads",
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    debug: Debug = False,
) -> None:
    """Find the verified Pareto-optimal deployments of PROBLEM."""

    def work() -> ExitCode:
        from llmopt_optimizer.loop.workers import place

        from .commands import Inputs
        from .solving import Keeping, run_solve

        inputs = Inputs.of(problem, overrides, seed, time_limit, coefficients)
        keeping = Keeping(out, cache, resume, report, plot, place(parallel))
        return run_solve(inputs, keeping, as_json=json, quiet=quiet)

    finish(work, debug)


def check(problem: Problem, overrides: Overrides = None, debug: Debug = False) -> None:
    """Read PROBLEM and report every mistake in it."""

    def work() -> ExitCode:
        from .commands import Inputs, run_check

        return run_check(Inputs.of(problem, overrides))

    finish(work, debug)


def export(
    problem: Problem,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="Write here; .lp, .mps, .nl or .cip says the format."),
    ],
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Write the optimization model of PROBLEM for other solvers."""

    def work() -> ExitCode:
        from .commands import Inputs
        from .export import run_export

        return run_export(Inputs.of(problem, overrides), out)

    finish(work, debug)


def schema(debug: Debug = False) -> None:
    """Print the JSON Schema of problem files."""

    def work() -> ExitCode:
        from .commands import run_schema

        return run_schema()

    finish(work, debug)


def graph(
    problem: Problem,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="E.g. ttft_p95_s; default: objectives and levels."),
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", metavar="[aggregated|disaggregated]", help="Default: the first.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="DEPLOYMENT", help="Put numbers on the nodes, as `simulate` takes it."),
    ] = None,
    dependencies: Annotated[
        bool, typer.Option("--dependencies", help="Only what each metric depends on.")
    ] = False,
    depth: Annotated[
        int | None, typer.Option("--depth", min=1, help="Cut the expression below so many operations.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="[dot|mermaid|svg|json|latex]", help="Default: as --out ends."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here instead of printing.")
    ] = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Draw how metrics of PROBLEM are made from decisions and parameters, shared parts once."""

    def work() -> ExitCode:
        from .commands import Inputs
        from .graphing import Graphing, run_graph

        inputs = Inputs.of(problem, overrides)
        asked = Graphing(inputs, tuple(metrics or ()), mode, at, dependencies, depth, form, out)
        return run_graph(asked)

    finish(work, debug)
