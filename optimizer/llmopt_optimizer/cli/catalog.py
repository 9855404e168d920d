"""`llmopt catalog`: what problems can name, with the facts that help to choose."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.output.formatting import duration, number
from llmopt_optimizer.output.table import console_for, print_sections
from llmopt_problems import catalog
from llmopt_problems.models.facts import active_parameter_count, kv_bytes_per_token, parameter_count

Row = Mapping[str, Any]


def run_catalog(section: str | None, *, as_json: bool) -> ExitCode:
    """Print one section of the catalog, or all."""
    if section is not None and section not in _SECTIONS:
        raise InputError(f"{section!r} is no section of the catalog; choose {', '.join(_SECTIONS)}")
    chosen = _SECTIONS if section is None else {section: _SECTIONS[section]}
    rows = {name: facts() for name, facts in chosen.items()}
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        sections = (part for name, entries in rows.items() for part in _section(name, entries))
        print_sections(sections, console_for(sys.stdout))
    return ExitCode.SOLVED


def _models() -> list[Row]:
    return [_model(name) for name in catalog.model_names()]


def _model(name: str) -> Row:
    spec = catalog.model(name)
    return {
        "name": name,
        "parameters": parameter_count(spec),
        "active_parameters": active_parameter_count(spec),
        "layers": spec.layer_count,
        "max_context_tokens": spec.max_context_tokens,
        "kv_bytes_per_token_bf16": kv_bytes_per_token(spec, "bf16"),
        "native_weights": spec.native_weights,
    }


def _accelerators() -> list[Row]:
    return [asdict(catalog.accelerator(name)) for name in catalog.accelerator_names()]


def _links() -> list[Row]:
    return [asdict(catalog.link(name)) for name in catalog.link_names()]


_SECTIONS: Mapping[str, Callable[[], list[Row]]] = {
    "models": _models,
    "accelerators": _accelerators,
    "links": _links,
}


def _section(name: str, rows: list[Row]) -> tuple[Table, str]:
    shown = [_COLUMNS[name](row) for row in rows]
    table = Table(title=name, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in shown[0]:
        table.add_column(column, justify="left" if column == "name" else "right")
    for cells in shown:
        table.add_row(*cells.values())
    return table, ""


def _model_cells(row: Row) -> dict[str, str]:
    return {
        "name": row["name"],
        "parameters": f"{number(row['parameters'] / 1e9)} B",
        "active": f"{number(row['active_parameters'] / 1e9)} B",
        "layers": str(row["layers"]),
        "context": f"{row['max_context_tokens']:,}",
        "KV a token (bf16)": f"{number(row['kv_bytes_per_token_bf16'] / 1e3)} kB",
        "checkpoint": row["native_weights"],
    }


def _accelerator_cells(row: Row) -> dict[str, str]:
    peaks = row["peak_flops_per_s"]
    return {
        "name": row["name"],
        "memory": f"{number(row['hbm_bytes'] / 1e9)} GB",
        "bandwidth": f"{number(row['hbm_bytes_per_s'] / 1e12)} TB/s",
        "bf16": f"{number(peaks['bf16'] / 1e12)} TFLOP/s" if "bf16" in peaks else "–",
        "fp8": f"{number(peaks['fp8'] / 1e12)} TFLOP/s" if "fp8" in peaks else "–",
        "a node": str(row["gpus_per_node"]),
        "scale-up": row["scale_up"]["name"],
        "peak power": f"{number(row['peak_watts'])} W",
    }


def _link_cells(row: Row) -> dict[str, str]:
    rate = f"{number(row['bytes_per_s'] / 1e9)} GB/s"
    return {"name": row["name"], "one direction": rate, "latency": duration(row["latency_s"])}


_COLUMNS: Mapping[str, Callable[[Row], dict[str, str]]] = {
    "models": _model_cells,
    "accelerators": _accelerator_cells,
    "links": _link_cells,
}
