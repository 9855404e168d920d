"""The table of measurements while it grows: a row is on disk before the next is measured.

An interrupted run leaves whole rows; the next run of the same file finds them and measures the rest. A file
of another device or timer is never added to: its clock is another one.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from llmopt_calibration.laws import law
from llmopt_calibration.profiling.plan import Case
from llmopt_calibration.sources.errors import SourceError

MEASURED_FAMILIES = (
    "gemm_bf16",
    "gemm_fp8",
    "attention_prefill_bf16",
    "attention_decode_bf16",
    "moe_bf16",
    "elementwise",
    "all_reduce",
)
SHAPE_COLUMNS = tuple(
    dict.fromkeys(symbol.name for family in MEASURED_FAMILIES for symbol in law(family).shape)
)


@dataclass(frozen=True, slots=True)
class Device:
    """Who measured, with what clock."""

    device: str
    timer: str
    tool: str
    tool_version: str
    measured_on: str


@dataclass(frozen=True, slots=True)
class Timing:
    """The median time of one operator and what says how far to trust it."""

    time_us: float
    repetitions: int
    spread: float
    """Ninth over first decile of the repetitions."""
    sm_clock_mhz: str = ""
    temperature_c: str = ""


COLUMNS = (
    "family",
    *SHAPE_COLUMNS,
    *Timing.__dataclass_fields__,
    *Device.__dataclass_fields__,
)


def measured_before(path: Path, device: Device) -> set[object]:
    """Keys of the cases that `path` holds; a row that was cut off by a kill is taken out of the file.

    Raises `SourceError` when the file is another table or was measured by another device or timer.
    """
    if not path.exists() or path.stat().st_size == 0:
        return set()
    _drop_broken_row(path)
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise SourceError(
                path, "is no table of this version of llmopt profile", "choose another --out file"
            )
        rows = list(reader)
    other = {(row["device"], row["timer"]) for row in rows} - {(device.device, device.timer)}
    if other:
        name, timer = min(other)
        raise SourceError(
            path, f"was measured on {name} by {timer}", "choose another --out file for this device"
        )
    return {_case(row).key for row in rows}


def _drop_broken_row(path: Path) -> None:
    with path.open("rb+") as stream:
        content = stream.read()
        if not content.endswith(b"\n"):
            stream.truncate(content.rfind(b"\n") + 1)


def _case(row: Mapping[str, str]) -> Case:
    names = [symbol.name for symbol in law(row["family"]).shape]
    return Case(row["family"], {name: int(row[name]) for name in names})


def append(path: Path, case: Case, timing: Timing, device: Device) -> None:
    """Add one row (and the header of a new file) and have it on disk."""
    new = not path.exists() or path.stat().st_size == 0
    row = {"family": case.family, **case.shape, **asdict(timing), **asdict(device)}
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
        stream.flush()
        os.fsync(stream.fileno())


def remaining(cases: Iterable[Case], done: set[object]) -> list[Case]:
    """The cases that are still to be measured, in their order."""
    return [case for case in cases if case.key not in done]
