"""Any source of operator times, recognised by what it holds, as measurements of one shape.

Operator tables of aiconfigurator-core, microbenchmarks of one's own, Vidur's profiles and logs of nccl-tests
calibrate operators. Measured serving (SGLang, vLLM, tables of serving points) does not: it is what
predictions are validated against, and it is refused here by that name.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmopt_calibration.sources.aiconfigurator import find_tables
from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.families import read_family, readable_families
from llmopt_calibration.sources.measurements import Measurements, merged
from llmopt_calibration.sources.microbenchmarks import is_microbenchmark, read_microbenchmarks
from llmopt_calibration.sources.nccl_tests import is_nccl_log, read_nccl_tests
from llmopt_calibration.sources.plausible import catalog_device, checked
from llmopt_calibration.sources.serving_benchmarks import is_serving_benchmark
from llmopt_calibration.sources.vidur import is_vidur, read_vidur
from llmopt_problems.hardware.spec import AcceleratorSpec

FORMATS = (
    "the folder aiconfigurator_core, a CSV of microbenchmarks (llmopt profile writes one), "
    "Vidur's profiling CSV, or a log of nccl-tests"
)
SERVING_COLUMNS = {"ttft_ms", "tpot_ms", "concurrency"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What measurements are read for."""

    accelerator: AcceleratorSpec
    engine: str
    others: frozenset[str] = frozenset()
    """Accelerators whose measurements may stand in the same files' folder: they are left out here."""


def read_sources(paths: Iterable[Path], wanted: Wanted) -> dict[str, Measurements]:
    """The plausible measurements of every family in all files, files of a folder included.

    Several files of one family are one data set. Raises `SourceError` for a file that is no source of
    operator times, with the reason.
    """
    parts: dict[str, list[Measurements]] = {}
    for path in paths:
        for data in read_source(path, wanted):
            if catalog_device(data.provenance.device) in wanted.others:
                continue
            parts.setdefault(data.family, []).append(checked(data, wanted.accelerator))
    _check_timers(parts)
    return {family: merged(parts[family]) for family in sorted(parts)}


def read_source(path: Path, wanted: Wanted) -> tuple[Measurements, ...]:
    """The measurements in one file or folder, as they stand there."""
    if path.is_dir():
        return _folder(path, wanted)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SourceError(path, f"cannot be read ({error.strerror or error})", "check the path") from error
    return _reader(path, text)(path)


def _folder(path: Path, wanted: Wanted) -> tuple[Measurements, ...]:
    tables = find_tables(path)
    if tables is None:
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        if not files:
            raise SourceError(path, "the folder holds no files", f"give {FORMATS}")
        return tuple(data for file in files for data in read_source(file, wanted))
    found = (
        read_family(tables, wanted.accelerator.name, wanted.engine, family)
        for family in sorted(readable_families())
    )
    return tuple(data for data in found if data is not None)


Reader = Callable[[Path], tuple[Measurements, ...]]
TABLES: Mapping[str, tuple[Callable[[list[str]], bool], Reader]] = {
    "microbenchmarks": (is_microbenchmark, read_microbenchmarks),
    "vidur": (is_vidur, read_vidur),
}


def _reader(path: Path, text: str) -> Reader:
    if is_nccl_log(text):
        return read_nccl_tests
    if is_serving_benchmark(text):
        raise _serving(path)
    columns = next(csv.reader(text.splitlines()[:1]), [])
    for matches, read in TABLES.values():
        if matches(columns):
            return read
    if set(columns) >= SERVING_COLUMNS:
        raise _serving(path)
    what = "the format is unknown (no column family, no time_stats.*, no NCCL log)"
    raise SourceError(path, what, f"give {FORMATS}")


def _serving(path: Path) -> SourceError:
    return SourceError(
        path,
        "these are measured requests, not operators: no law can be fitted to them",
        "compare predictions with them by llmopt validate",
    )


def _check_timers(parts: Mapping[str, list[Measurements]]) -> None:
    """Times of one family from two devices are two clocks."""
    for family, found in parts.items():
        devices = sorted({data.provenance.device for data in found} - {""})
        if len(devices) > 1:
            files = " and ".join(data.provenance.table for data in found)
            raise SourceError(
                files,
                f"mixed clocks: {family} was measured on {' and '.join(devices)}",
                "calibrate each device alone",
            )
