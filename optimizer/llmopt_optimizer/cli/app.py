"""The commands: each declares its arguments and hands over to a function that does the work.

Nothing but typer is imported before a command runs, so that `llmopt --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from .measuring import Debug, calibrate, profile, validate
from .outcome import EXIT_CODES_HELP, ExitCode, exit_code

app = typer.Typer(
    name="llmopt",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would double the start-up time
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES_HELP,
)

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


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"llmopt {version('llmopt')}")
        raise typer.Exit


@app.callback()
def llmopt(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the best ways to deploy a language model: proven by optimization, confirmed by simulation."""


@app.command(epilog=EXIT_CODES_HELP)
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
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    debug: Debug = False,
) -> None:
    """Find the verified Pareto-optimal deployments of PROBLEM."""

    def work() -> ExitCode:
        from .commands import Inputs
        from .solving import Keeping, run_solve

        inputs = Inputs.of(problem, overrides, seed, time_limit, coefficients)
        return run_solve(inputs, Keeping(out, cache, resume, report), as_json=json, quiet=quiet)

    _finish(work, debug)


@app.command(epilog=EXIT_CODES_HELP)
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

    _finish(work, debug)


@app.command(epilog=EXIT_CODES_HELP)
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

    _finish(work, debug)


@app.command(epilog=EXIT_CODES_HELP)
def check(problem: Problem, overrides: Overrides = None, debug: Debug = False) -> None:
    """Read PROBLEM and report every mistake in it."""

    def work() -> ExitCode:
        from .commands import Inputs, run_check

        return run_check(Inputs.of(problem, overrides))

    _finish(work, debug)


@app.command(epilog=EXIT_CODES_HELP)
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

    _finish(work, debug)


@app.command()
def schema(debug: Debug = False) -> None:
    """Print the JSON Schema of problem files."""

    def work() -> ExitCode:
        from .commands import run_schema

        return run_schema()

    _finish(work, debug)


app.command(epilog=EXIT_CODES_HELP)(validate)


@app.command(epilog=EXIT_CODES_HELP)
def report(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result.json, or the directory that a solve wrote.")
    ],
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

    _finish(work, debug)


@app.command(epilog=EXIT_CODES_HELP)
def launch(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result.json, or the directory that a solve wrote.")
    ],
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

    _finish(work, debug)


app.command(epilog=EXIT_CODES_HELP)(calibrate)
app.command(epilog=EXIT_CODES_HELP)(profile)


@app.command()
def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the catalog.")],
    accelerator: Annotated[str, typer.Option(metavar="NAME", help="An accelerator of the catalog.")],
    tp: Annotated[int, typer.Option(min=1, help="Tensor-parallel ranks.")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline stages.")] = 1,
    ep: Annotated[int, typer.Option(min=1, help="Expert-parallel groups.")] = 1,
    attention_dp: Annotated[int, typer.Option(min=1, help="Attention data-parallel ranks.")] = 1,
    batch: Annotated[str, typer.Option(metavar="N,…", help="Decode sequences of a rank.")] = "1",
    context: Annotated[str, typer.Option(metavar="N,…", help="Context of each of them.")] = "4096",
    prefill_tokens: Annotated[str, typer.Option(metavar="N,…", help="Prompt computed in the step.")] = "0",
    weights: Annotated[str, typer.Option(help="Weight precision, or native.")] = "native",
    kv_cache: Annotated[str, typer.Option(help="Precision of the KV cache.")] = "bf16",
    engine: Annotated[str, typer.Option(help="Engine whose fitted coefficients are used.")] = "sglang",
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one row an operator and state here.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print what every layer and fused operator of a step costs: FLOP, bytes, seconds, and what dominates."""

    def work() -> ExitCode:
        from llmopt_problems.deployment import Layout

        from .layers import LayersRequest, run_layers

        layout = Layout(tp, pp, ep, attention_dp)
        return run_layers(
            LayersRequest(
                model,
                accelerator,
                engine,
                weights,
                kv_cache,
                layout,
                batch,
                context,
                prefill_tokens,
                csv,
                json,
            )
        )

    _finish(work, debug)


@app.command()
def catalog(
    section: Annotated[
        str | None, typer.Argument(metavar="[models|accelerators|links]", help="One section; all without it.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the models, accelerators and links that problems can name."""

    def work() -> ExitCode:
        from .catalog import run_catalog

        return run_catalog(section, as_json=json)

    _finish(work, debug)


def _finish(work: Callable[[], ExitCode], debug: bool) -> None:
    raise typer.Exit(exit_code(work, debug))
