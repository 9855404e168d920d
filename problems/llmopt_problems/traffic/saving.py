"""Workloads written down in the project's own trace format, so that reading gives the identical arrays."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ..traces.own import COLUMNS, FORMAT, VERSION
from .requests import Workload


def save(workload: Workload, file: str | Path, class_names: Sequence[str] = ()) -> None:
    """Writes `workload` to `file`, whole or not at all; the same workload gives the same bytes."""
    target = Path(file)
    text = "".join(f"{line}\n" for line in chain([_header_line(workload, class_names)], _row_lines(workload)))
    data = text.encode()
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        part.write_bytes(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _header_line(workload: Workload, class_names: Sequence[str]) -> str:
    arrays = (workload.requests.class_ids, workload.think_s, workload.follows)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "block_tokens": workload.requests.block_tokens,
        "concurrency": workload.concurrency,
        "classes": list(class_names),
        "columns": [name for name, array in zip(COLUMNS, arrays, strict=True) if array is not None],
    }
    return json.dumps(header)


def _row_lines(workload: Workload) -> Iterator[str]:
    requests = workload.requests
    columns = {
        "arrival_s": requests.arrival_s,
        "input_tokens": requests.input_tokens,
        "output_tokens": requests.output_tokens,
        "class": requests.class_ids,
        "think_s": workload.think_s,
        "follows": workload.follows,
    }
    given = {name: array.tolist() for name, array in columns.items() if array is not None}
    for index, (start, stop) in enumerate(
        zip(requests.block_offsets.tolist(), requests.block_offsets[1:].tolist(), strict=False)
    ):
        row = {name: values[index] for name, values in given.items()}
        yield json.dumps(row | {"blocks": requests.block_ids[start:stop].tolist()}, allow_nan=False)
