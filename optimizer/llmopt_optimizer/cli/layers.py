"""`llmopt layers`: the budget of a step by layer and fused operator, for one state or a grid of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from rich.table import Table

from llmopt_calibration import coefficients
from llmopt_calibration.budget import OperatorBudget, StepState, bottleneck, step_budget
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import layout_violations, step_context
from llmopt_calibration.step.context import StepContext
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.formatting import duration, number
from llmopt_optimizer.output.table import console_for, print_sections
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout
from llmopt_problems.models.spec import KvPrecision, WeightPrecision


@dataclass(frozen=True, slots=True)
class LayersRequest:
    """The command line of `llmopt layers`."""

    model: str
    accelerator: str
    engine: str
    weights: str
    kv_cache: str
    layout: Layout
    batch: str
    context: str
    prefill_tokens: str
    csv: Path | None
    as_json: bool


def run_layers(request: LayersRequest) -> ExitCode:
    """Print the budget, or write it with one row an operator and state."""
    context = _context(request)
    states = tuple(_states(request))
    budgets = [(state, step_budget(context, state)) for state in states]
    if request.csv is not None:
        frame = pd.DataFrame([row for state, found in budgets for row in _rows(state, found)])
        write_files(prepare_directory(request.csv.parent), {request.csv.name: frame.to_csv(index=False)})
    if request.as_json:
        json.dump([_document(state, found) for state, found in budgets], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        shown = [_operators(*budgets[0])] if len(budgets) == 1 else [_totals(budgets)]
        print_sections(shown, console_for(sys.stdout))
    return ExitCode.SOLVED


def _context(request: LayersRequest) -> StepContext:
    model, accelerator = catalog.model(request.model), catalog.accelerator(request.accelerator)
    broken = layout_violations(model, request.layout)
    if broken:
        raise InputError(f"{model.name} cannot be split so: {'; '.join(str(rule) for rule in broken)}")
    weights = model.native_weights if request.weights == "native" else request.weights
    precision = Precision(
        _one_of("--weights", weights, get_args(WeightPrecision)),
        _one_of("--kv-cache", request.kv_cache, get_args(KvPrecision)),
    )
    fitted = coefficients.load(accelerator.name, request.engine)
    return step_context(model, accelerator, precision, request.layout, fitted)


def _one_of(option: str, value: str, allowed: Sequence[str]) -> Any:
    if value not in allowed:
        raise InputError(f"{option} {value}: give one of {', '.join(allowed)}")
    return value


def _states(request: LayersRequest) -> Iterator[StepState]:
    """Every combination of the listed batches, contexts and prompts that has work."""
    axes = (
        _counts("--batch", request.batch),
        _counts("--context", request.context),
        _counts("--prefill-tokens", request.prefill_tokens),
    )
    states = [StepState(*values) for values in product(*axes) if values[0] or values[2]]
    if not states:
        raise InputError("a step needs decode sequences (--batch) or prefill tokens (--prefill-tokens)")
    yield from states


def _counts(option: str, text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{option} {text}: give whole numbers, several with commas between: 1,8,64")
    return tuple(int(part) for part in parts)


def _rows(state: StepState, budgets: Sequence[OperatorBudget]) -> Iterator[dict[str, Any]]:
    for each in budgets:
        yield {**asdict(state), **asdict(each), "total_s": each.total_s}


def _document(state: StepState, budgets: tuple[OperatorBudget, ...]) -> dict[str, Any]:
    slowest, seconds = bottleneck(budgets)
    return {
        "state": asdict(state),
        "step_s": sum(each.total_s for each in budgets),
        "bottleneck": {"layers": slowest, "seconds_each": seconds},
        "operators": [{**asdict(each), "total_s": each.total_s} for each in budgets],
    }


def _operators(state: StepState, budgets: tuple[OperatorBudget, ...]) -> Table:
    step_s = sum(each.total_s for each in budgets)
    slowest, seconds = bottleneck(budgets)
    caption = f"a step takes {duration(step_s)}; the slowest layers are {slowest}, {duration(seconds)} each"
    table = _table(_title(state), caption)
    for column in ("layers", "operator"):
        table.add_column(column, no_wrap=True)
    for column in ("FLOP", "HBM", "links", "compute", "memory", "links", "time", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("bound")
    previous = ""
    for each in budgets:
        first = each.layers if each.layers != previous else ""
        previous = each.layers
        bound = "links" if each.dominates == "communication" else each.dominates
        table.add_row(first, each.operator, *_cells(each, step_s), bound)
    return table


def _cells(each: OperatorBudget, step_s: float) -> tuple[str, ...]:
    return (
        f"{number(each.flops / 1e9)} G" if each.flops else "",
        _megabytes(each.hbm_bytes),
        _megabytes(each.network_bytes),
        duration(each.compute_s) if each.compute_s else "",
        duration(each.memory_s) if each.memory_s else "",
        duration(each.communication_s) if each.communication_s else "",
        duration(each.seconds),
        f"{each.total_s / step_s:.1%}",
    )


def _megabytes(size: float) -> str:
    return f"{number(size / 1e6)} MB" if size else ""


def _totals(budgets: list[tuple[StepState, tuple[OperatorBudget, ...]]]) -> Table:
    table = _table("steps", "one row a state; --csv has every operator of every state")
    for column in ("batch", "context", "prefill tokens", "step", "FLOP", "HBM", "links"):
        table.add_column(column, justify="right")
    table.add_column("slowest layers")
    for state, found in budgets:
        flops, hbm, links = (
            sum(each.count * getattr(each, name) for each in found)
            for name in ("flops", "hbm_bytes", "network_bytes")
        )
        slowest, seconds = bottleneck(found)
        table.add_row(
            f"{state.batch:,}",
            f"{state.context_tokens:,}",
            f"{state.prefill_tokens:,}",
            duration(sum(each.total_s for each in found)),
            f"{number(flops / 1e12)} T",
            f"{number(hbm / 1e9)} GB",
            f"{number(links / 1e9)} GB",
            f"{slowest}, {duration(seconds)} each",
        )
    return table


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        box=None,
        pad_edge=False,
    )


def _title(state: StepState) -> str:
    parts = []
    if state.batch:
        parts.append(f"{state.batch:,} decodes at {state.context_tokens:,} tokens of context")
    if state.prefill_tokens:
        parts.append(f"a prompt of {state.prefill_tokens:,} tokens")
    return " and ".join(parts)
