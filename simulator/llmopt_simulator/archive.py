"""Workloads kept in files: a run of the one read back is the run of the one written, byte for byte.

The file is a numpy archive (`.npz`) with one array a field; no pickle, so reading one runs no code.
"""

from __future__ import annotations

import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.errors import SimulationError
from llmopt_simulator.files import write_whole

SUFFIX: Final = ".npz"


def save_workload(workload: Workload, path: str | Path) -> None:
    """Write a workload to `path` (`.npz`), whole or not at all."""
    path = Path(path)
    if path.suffix != SUFFIX:
        raise SimulationError(f"{path}: workloads are kept as {SUFFIX} files, not {path.suffix!r}")
    arrays = _arrays(workload.requests, "requests.") | _arrays(workload, "")
    write_whole(path, lambda target: np.savez_compressed(target, **arrays))


def load_workload(path: str | Path) -> Workload:
    """The workload that `save_workload` wrote; raises `SimulationError` for a file of another kind."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
            requests = Requests(**_values(Requests, found, "requests."))
            return Workload(requests, **_values(Workload, found, ""))
    except (ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise SimulationError(f"{path}: not a workload written by save_workload ({error})") from error


def _arrays(record: Requests | Workload, prefix: str) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        prefix + name: np.asarray(value)
        for name, value in values.items()
        if value is not None and name != "requests"
    }


def _values(kind: type[Requests | Workload], found: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Constructor arguments from arrays; those without dimensions were numbers."""
    names = [field.name for field in fields(kind) if prefix + field.name in found]
    arrays = {name: found[prefix + name] for name in names}
    return {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}
