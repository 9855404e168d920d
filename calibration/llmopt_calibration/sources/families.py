"""Which operator table each law family is fitted from, in which range, and which are left out and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from llmopt_calibration.sources import mixers, operators
from llmopt_calibration.sources.aiconfigurator import OperatorTables, ranks_of_a_node
from llmopt_calibration.sources.measurements import Measurements, Provenance, Ranges, clean

ABSORBED_PREFILL = ("sglang",)
"""Engines whose prefill table measures absorbed latent attention, 3.4 times the work of the expanded form
that they serve with (fits come out at a fifth of the peak).
"""

LAUNCH_BOUND_BLOCKS = ("vllm",)
"""Engines whose block-scaled GEMM table was launched eagerly: 58 to 95 µs whatever the size below 100
MFLOP, where serving replays CUDA graphs.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Which table serves a family, how it is read, and the range that serving uses."""

    operator: str
    file: str
    read: Callable[[Path, str], pd.DataFrame]
    ranges: Ranges
    precision: str
    engine: str | None = None
    """The folder's engine where it is not the serving engine (NCCL)."""
    unfit_engines: tuple[str, ...] = ()
    """Engines whose table measures something else than what they serve with."""
    version: str | None = None
    """The folder's version where it is not the engine's newest complete one."""
    subtracted: Callable[[Path], Path] | None = None
    """Where the second table lies whose times `read` takes off those of the first."""


GEMM_RANGES = {"tokens": (1, 16384), "output_width": (256, 65536), "input_width": (256, 65536)}
ATTENTION_RANGES = {"kv_heads": (1, 64), "query_heads": (1, 128)}
BATCHED_RANGES = {"tokens": (1, 16384)}
BATCHED_SOURCES = {"bf16": "bf16", "fp8": "fp8", "fp8_block": "fp8"}
"""Rows that serve a precision: one fp8 kernel serves both scalings."""
DEEPEP_VERSION = "0.5.12"
"""The newest version of SGLang with tables of DeepEP."""
COLLECTIVE_RANGES = {"message_bytes": (1024, 2**28), "ranks": (2, 8)}
MOE_RANGES = {"tokens": (1, 16384), "intermediate": (128, 16384)}


def readable_families() -> dict[str, Table]:
    """The table that each law family is fitted from."""
    gemms = {
        f"gemm_{p}": Table("gemm", "gemm_perf", operators.gemm, GEMM_RANGES, p) for p in operators.DTYPES
    }
    gemms["gemm_fp8"] = replace(
        gemms["gemm_fp8"], read=operators.static_fp8_gemm, subtracted=operators.scale_table
    )
    gemms["gemm_fp8_block"] = replace(gemms["gemm_fp8_block"], unfit_engines=LAUNCH_BOUND_BLOCKS)
    batched = {
        f"batched_gemm_{p}": Table("mla_bmm", "mla_bmm_perf", operators.batched_gemm, BATCHED_RANGES, source)
        for p, source in BATCHED_SOURCES.items()
    }
    experts = {f"moe_{p}": Table("moe", "moe_perf", operators.moe, MOE_RANGES, p) for p in operators.DTYPES}
    caches = {name: table for p in ("bf16", "fp8") for name, table in _attention_tables(p).items()}
    return gemms | batched | experts | caches | _linear_tables() | _collective_tables()


def _attention_tables(p: str) -> dict[str, Table]:
    prefill, decode = "context_attention_perf", "generation_attention_perf"
    return {
        f"attention_prefill_{p}": Table(
            "attention", prefill, operators.attention_prefill, ATTENTION_RANGES, p
        ),
        f"attention_decode_{p}": Table("attention", decode, operators.attention_decode, ATTENTION_RANGES, p),
        f"mla_prefill_{p}": Table(
            "mla", "context_mla_perf", operators.mla_prefill, {}, p, unfit_engines=ABSORBED_PREFILL
        ),
        f"mla_decode_{p}": Table("mla", "generation_mla_perf", operators.mla_decode, {}, p),
    }


def _linear_tables() -> dict[str, Table]:
    ranges, operator, file = {"tokens": (1, 65536)}, "linear_attention", "gdn_perf"
    return {
        "linear_attention_decode": Table(operator, file, mixers.linear_decode, ranges, "bf16"),
        "linear_attention_prefill": Table(operator, file, mixers.linear_prefill, ranges, "bf16"),
    }


def _collective_tables() -> dict[str, Table]:
    ranges = COLLECTIVE_RANGES
    custom = Table("comm", "custom_allreduce_perf", operators.custom_all_reduce, ranges, "bf16")
    nccl = {
        family: Table("comm", "nccl_perf", operators.nccl(operation), ranges, "bf16", "nccl")
        for family, operation in (
            ("all_gather", "all_gather"),
            ("reduce_scatter", "reduce_scatter"),
            ("all_to_all", "alltoall"),
        )
    }
    return {"all_reduce": custom} | nccl | _expert_tables()


def _expert_tables() -> dict[str, Table]:
    """DeepEP's kernels, as SGLang calls them; the tables count no ranks, which are those of a node."""
    return {
        f"expert_{way}": Table(
            "comm",
            mixers.LOW_LATENCY,
            mixers.deepep(way, ranks_of_a_node),
            {"message_bytes": (1024, 2**30)},
            "bf16",
            unfit_engines=("vllm", "trtllm"),
            version=DEEPEP_VERSION,
        )
        for way in mixers.DISPATCHED_BYTES
    }


def read_family(tables: OperatorTables, accelerator: str, engine: str, family: str) -> Measurements | None:
    """Measured times of `family`; None when the package has no such table or the table no such precision."""
    table = readable_families()[family]
    path = tables.path(accelerator, table.operator, table.engine or engine, table.file, table.version)
    if not path.is_file() or engine in table.unfit_engines:
        return None
    frame = table.read(path, table.precision)
    return None if frame.empty else clean(family, frame, table.ranges, _provenance(tables, table, path))


def _provenance(tables: OperatorTables, table: Table, path: Path) -> Provenance:
    first = tables.provenance(path)
    if table.subtracted is None or not table.subtracted(path).is_file():
        return first
    return replace(first, subtracted_table=tables.provenance(table.subtracted(path)).table)
