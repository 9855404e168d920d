"""The commands that simulate: a problem's deployment, a run by file or flags, a server on the clock."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from .arguments import Coefficients, Debug, Overrides, Seed, finish
from .outcome import ExitCode, InputError

Text = str | None


def _flag(name: str, metavar: str, meaning: str) -> typer.models.OptionInfo:
    return typer.Option(name, metavar=metavar, help=meaning)


def simulate(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[PROBLEM|RUN]", help="A problem (with --deployment), or a run file."),
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(
            "--deployment",
            metavar="DEPLOYMENT",
            help="A JSON or YAML file, JSON text, 'tp=4,instances=2', or 'prefill.tp=4,decode.tp=8'.",
        ),
    ] = None,
    model: Annotated[Text, _flag("--model", "NAME", "Catalog name, or a config.json.")] = None,
    accelerator: Annotated[Text, _flag("--accelerator", "NAME", "Of every pool.")] = None,
    tp: Annotated[int | None, _flag("--tp", "N", "Tensor-parallel ranks.")] = None,
    instances: Annotated[int | None, _flag("--instances", "N", "Of every pool.")] = None,
    prefill: Annotated[Text, _flag("--prefill", "KEYS", "'{tp: 2, instances: 3}'.")] = None,
    decode: Annotated[Text, _flag("--decode", "KEYS", "'{tp: 4, accelerator: H200-SXM}'.")] = None,
    transfer: Annotated[
        Text, _flag("--transfer", "KEYS", "'{bandwidth: 50 GB/s, latency: 1 ms}' between both.")
    ] = None,
    rate: Annotated[Text, _flag("--rate", "RATE", "Poisson arrivals, e.g. '6 req/s'.")] = None,
    concurrency: Annotated[int | None, _flag("--concurrency", "N", "A closed loop instead.")] = None,
    input_tokens: Annotated[Text, _flag("--input-tokens", "N", "Or '{distribution: …}'.")] = None,
    output_tokens: Annotated[Text, _flag("--output-tokens", "N", "Or '{distribution: …}'.")] = None,
    duration: Annotated[Text, _flag("--duration", "TIME", "Requests arrive so long, e.g. '5 min'.")] = None,
    requests_count: Annotated[int | None, _flag("--count", "N", "So many requests instead.")] = None,
    warmup: Annotated[Text, _flag("--warmup", "TIME", "Not measured, e.g. '30 s'.")] = None,
    engine: Annotated[Text, _flag("--engine", "NAME", "sglang, vllm or trtllm.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the JSON here instead of printing it.")
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option("--timeline", metavar="FILE", help="Write the first run as a Chrome trace (.json)."),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option("--requests", metavar="FILE", help="Write its requests (.csv, .json or .parquet)."),
    ] = None,
    series: Annotated[
        Path | None, typer.Option("--series", metavar="FILE", help="Write its time series (.csv).")
    ] = None,
    sglang: Annotated[
        Path | None, typer.Option("--sglang", metavar="FILE", help="As bench_serving's result (.jsonl).")
    ] = None,
    vllm: Annotated[
        Path | None, typer.Option("--vllm", metavar="FILE", help="As vllm bench serve's result (.json).")
    ] = None,
    overrides: Overrides = None,
    coefficients: Coefficients = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Simulate one deployment and print its metrics as JSON."""
    flags: dict[str, object] = {
        **{"model": model, "accelerator": accelerator, "tp": tp, "instances": instances},
        **{"prefill": prefill, "decode": decode, "transfer": transfer},
        **{"rate": rate, "concurrency": concurrency},
        **{"input_tokens": input_tokens, "output_tokens": output_tokens},
        **{"duration": duration, "requests": requests_count, "warmup": warmup},
        **{"engine": engine, "seed": seed},
    }

    def work() -> ExitCode:
        from .commands import Inputs
        from .looking import Looks
        from .simulating import Outputs, refuse_flags, run_run, run_simulate

        outputs = Outputs(out, Looks(timeline, requests, series, sglang, vllm))
        if deployment is None:
            folder = None if coefficients is None else dumps(str(coefficients.absolute()))
            return run_run(source, flags | {"coefficients": folder}, tuple(overrides or ()), outputs)
        if source is None:
            raise InputError("--deployment needs the problem whose traffic it shall serve")
        refuse_flags(flags, deployment)
        inputs = Inputs.of(source, overrides, seed, coefficients=coefficients)
        return run_simulate(inputs, deployment, outputs)

    finish(work, debug)


def serve(
    source: Annotated[
        str, typer.Argument(metavar="PROBLEM|RESULT", help="A problem (with --deployment), or a result.")
    ],
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="DEPLOYMENT", help="As `simulate` takes it.")
    ] = None,
    point: Annotated[int, typer.Option("--point", min=1, help="Which deployment of a result's front.")] = 1,
    host: Annotated[str, typer.Option("--host", help="Other than loopback needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="LLMOPT_SERVE_TOKEN", help="What clients must send (Bearer)."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.001, max=1000.0, help="Simulated seconds a second.")
    ] = 1.0,
    requests: Annotated[
        int, typer.Option("--requests", min=1, max=10**6, help="Room of one run; it starts anew when idle.")
    ] = 100_000,
    characters_per_token: Annotated[
        float, typer.Option("--characters-per-token", min=0.5, help="Of prompts that are text.")
    ] = 4.0,
    streams: Annotated[int, typer.Option("--streams", min=1, help="Most requests at a time.")] = 4096,
    requests_per_s: Annotated[
        float, typer.Option("--requests-per-s", min=0.001, help="Most requests a second.")
    ] = 10_000.0,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Serve OpenAI's interface with the timing of a deployment: no model, no GPU (extra `serve`)."""

    def work() -> ExitCode:
        from .serving import Serving, run_serve

        asked = Serving(
            *(source, deployment, point, host, port, token, speed, requests, characters_per_token),
            *(streams, requests_per_s, tuple(overrides or ())),
        )
        return run_serve(asked)

    finish(work, debug)
