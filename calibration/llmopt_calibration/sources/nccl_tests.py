"""Logs of NVIDIA's nccl-tests (`all_reduce_perf`, `all_gather_perf`, …) as they are printed.

Layout (github.com/NVIDIA/nccl-tests): `#  Rank  0 Group  0 Pid 1887 on HOST device  0 [0x8d] NAME`, one a
rank; then rows of size in bytes, count in elements, type, reduction, root, and for out-of-place and in-place
each time in µs, algorithm and bus bandwidth in GB/s and errors. Three identities hold in a true log and are
checked in every row (`doc/PERFORMANCE.md`): size = count × bytes of the type (× ranks where the count is one
rank's), algorithm bandwidth = size / time, bus bandwidth = algorithm bandwidth × the operation's factor of
the ranks. Bytes are whole bytes: no element count passes for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.measurements import Measurements, Provenance, clean, sha256_of

RANK = re.compile(r"^#\s+Rank\s+(\d+)\s+.*?\bon\s+(\S+)\s+device\s+\d+\s+\[\S+\]\s+(.*?)\s*$")
STARTED = re.compile(r"\b(all_reduce|all_gather|reduce_scatter|alltoall|sendrecv)_perf")
VERSION = re.compile(r"NCCL version\s+v?([\w.+-]+)|ncclVersion\s*[:=]\s*(\S+)")
TYPE_BYTES = {
    "int8": 1, "uint8": 1, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "half": 2, "float": 4,
    "double": 8, "bfloat16": 2, "fp8_e4m3": 1, "fp8_e5m2": 1, "f8e4m3": 1, "f8e5m2": 1,
}  # fmt: skip
TOLERANCE = 0.02
"""Relative; the log rounds bandwidths to two decimals and times to four digits."""
ROUNDING_GB_S = 0.011
SENDS_TO_NEIGHBOUR = "sendrecv"


@dataclass(frozen=True, slots=True)
class Operation:
    """One of the tests: the law that it measures and its bus bandwidth over its algorithm bandwidth."""

    family: str
    bus_factor: Callable[[int], float]
    count_is_share: bool
    """Whether `count` is one rank's part of `size`."""


OPERATIONS: Mapping[str, Operation] = {
    "all_reduce": Operation("all_reduce", lambda n: 2 * (n - 1) / n, False),
    "all_gather": Operation("all_gather", lambda n: (n - 1) / n, True),
    "reduce_scatter": Operation("reduce_scatter", lambda n: (n - 1) / n, True),
    "alltoall": Operation("all_to_all", lambda n: (n - 1) / n, True),
    SENDS_TO_NEIGHBOUR: Operation("send", lambda n: 1.0, False),
}


@dataclass(frozen=True, slots=True)
class _Row:
    message_bytes: float
    count: float
    element_bytes: int
    reduction: str
    times: tuple[tuple[float, float, float], ...]
    """µs, algorithm and bus bandwidth, out-of-place and in-place."""


def is_nccl_log(text: str) -> bool:
    """Whether a text is the output of one of the tests."""
    return "busbw" in text and "(elements)" in text


def read_nccl_tests(path: Path) -> tuple[Measurements, ...]:
    """The one operation in the log `path`; in-place and out-of-place times of a size give their median.

    Raises `SourceError` when the log names no ranks or no operation, or no row holds together.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    ranks = [match for line in text.splitlines() if (match := RANK.match(line))]
    if len(ranks) < 2:
        raise SourceError(path, "the log names fewer than two ranks", "keep the lines '# Rank …' of the run")
    rows = list(_rows(text))
    name = _operation(path, text, rows, len(ranks))
    return (_measured(path, OPERATIONS[name], rows, ranks, text),)


def _measured(
    path: Path, operation: Operation, rows: list[_Row], ranks: list[re.Match[str]], text: str
) -> Measurements:
    count, nodes = len({match[1] for match in ranks}), len({match[2] for match in ranks})
    good = [row for row in rows if _holds(row, operation, count)]
    if not good:
        raise SourceError(
            path, "in no row do size, count, time and bandwidths agree", "give the log as printed"
        )
    times = pd.DataFrame(
        [(row.message_bytes, us * 1e-6) for row in good for us, _, _ in row.times],
        columns=["message_bytes", "seconds"],
    )
    shape = times.assign(ranks=count, nodes=nodes)
    columns = [
        *(["message_bytes", "nodes"] if operation.family == "send" else ["message_bytes", "ranks", "nodes"])
    ]
    version = VERSION.search(text)
    provenance = Provenance(
        "nccl-tests",
        f"NCCL {version[1] or version[2]}" if version else "",
        path.name,
        sha256_of(path),
        device=ranks[0][3],
    )
    data = clean(operation.family, shape[[*columns, "seconds"]], {}, provenance)
    bad = {"size, count, time and bandwidth disagree": len(rows) - len(good)}
    return replace(data, dropped=dict(data.dropped) | bad)


def _rows(text: str) -> Iterator[_Row]:
    """The lines that begin with size, count and a type."""
    for line in text.splitlines():
        cells = line.split()
        if len(cells) < 8 or not cells[0].isdigit() or cells[2] not in TYPE_BYTES:
            continue
        numbers = [_number(cell) for cell in cells[4:]]
        # With a root column there are nine numbers, without it (older versions) eight.
        values = numbers[1:] if len(numbers) in (5, 9) else numbers
        times = tuple((values[i], values[i + 1], values[i + 2]) for i in range(0, len(values) - 2, 4))
        yield _Row(float(cells[0]), float(cells[1]), TYPE_BYTES[cells[2]], cells[3], times)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _holds(row: _Row, operation: Operation, ranks: int) -> bool:
    """Whether the three identities hold in the row and it moves anything at all."""
    share = ranks if operation.count_is_share else 1
    if row.message_bytes <= 0 or row.message_bytes != row.count * row.element_bytes * share:
        return False
    return all(
        us > 0
        and _near(algorithm, row.message_bytes / us * 1e-3)
        and _near(bus, algorithm * operation.bus_factor(ranks))
        for us, algorithm, bus in row.times
    )


def _near(printed: float, expected: float) -> bool:
    return abs(printed - expected) <= TOLERANCE * expected + ROUNDING_GB_S


def _operation(path: Path, text: str, rows: list[_Row], ranks: int) -> str:
    """The test that wrote the log: named in it (command line), else the only one whose identities hold."""
    named = {match[1] for match in STARTED.finditer(text)}
    if len(named) == 1:
        return named.pop()
    fitting = [
        name
        for name, operation in OPERATIONS.items()
        if rows and sum(_holds(row, operation, ranks) for row in rows) > len(rows) / 2
    ]
    reduces = any(row.reduction != "none" for row in rows)
    fitting = [name for name in fitting if (name in ("all_reduce", "reduce_scatter")) == reduces]
    if len(fitting) == 1:
        return fitting[0]
    raise SourceError(
        path,
        f"the log does not say which test wrote it ({', '.join(fitting) or 'none'} fit)",
        "keep the command line (such as all_reduce_perf -b 8 …) in the file",
    )
