"""The commands that need no problem: a look into models and hardware, the import of other tools' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Debug, Json, Overrides, finish
from .outcome import ExitCode


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

    finish(work, debug)


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

    finish(work, debug)


def import_file(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="exp.yaml of AIConfigurator, a BLIS workload, an inference-perf config, SGLang's "
            "server_info, settings or a command of SGLang or vLLM, or a Hugging Face config.json.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the problem here instead of printing it."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="What wrote FILE; default: guessed.")
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", metavar="NAME", help="Which experiment or stage of several.")
    ] = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Make a problem file of what another tool has; every assumed value is labelled in it."""

    def work() -> ExitCode:
        from .importing import Importing, run_import

        return run_import(Importing(source, kind, part, tuple(overrides or ()), out))

    finish(work, debug)
