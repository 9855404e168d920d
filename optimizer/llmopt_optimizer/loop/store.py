"""Simulations by content: what was simulated once is never simulated again.

The key of a replication is a hash of everything that decides it: the requests, the deployment, the arrays
of its service model, the levels that goodput counts, the options, the seed, and the simulator's sources. Its
value is what the run measured. A `Store` keeps values in memory and, where it has folders, one small file
each, written whole or not at all and sealed by a hash of its content: a damaged file is as good as none.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import llmopt_simulator
from llmopt_calibration import compiled, grid, tape
from llmopt_calibration.compiled import CompiledStep
from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator import Observed, ServiceLevel, ServiceModel, SimulationOptions


@dataclass(frozen=True, slots=True)
class Store:
    """Measured replications by key."""

    folders: tuple[Path, ...] = ()
    """Read in this order; all are written to."""
    known: dict[str, Observed] = field(default_factory=dict)
    """In memory; owned by the store."""

    def get(self, key: str) -> Observed | None:
        """What is stored under a key; None when nothing is, or when the file is damaged."""
        for folder in self.folders:
            found = None if key in self.known else _read(_place(folder, key))
            if found is not None:
                self.put(key, found)
        return self.known.get(key)

    def put(self, key: str, observed: Observed) -> None:
        """Store a replication. A folder that cannot be written to only costs speed later."""
        self.known[key] = observed
        for folder in self.folders:
            with suppress(OSError):
                _write(_place(folder, key), observed)


def replication_key(
    service: str, workload: str, deployment: Deployment, levels: tuple[ServiceLevel, ...], seed: int
) -> str:
    """The key of one replication; `service` and `workload` are the hashes of their arrays."""
    parts = (simulator_version(), service, workload, repr(deployment), repr(levels))
    return _digest(*(part.encode() for part in (*parts, repr(SimulationOptions()), str(seed))))


def workload_hash(workload: Workload) -> str:
    """A hash of every array and number of a workload."""
    return _digest(*_bytes(workload.requests), *_bytes(workload))


def service_hash(service: ServiceModel) -> str:
    """A hash of every array and number of a service model."""
    parts = list(_bytes(service.transfer))
    for pool in service.pools:
        for each in fields(pool):
            value = getattr(pool, each.name)
            parts += _bytes(value.arrays() if isinstance(value, CompiledStep) else value)
        parts += _bytes(pool.step.granule)
    return _digest(*parts)


@cache
def simulator_version() -> str:
    """A hash of the sources of the simulator and of the step laws' interpreter."""
    folder = Path(str(llmopt_simulator.__file__)).parent
    laws = (Path(str(module.__file__)) for module in (compiled, grid, tape))
    return _digest(*(path.read_bytes() for path in (*sorted(folder.rglob("*.py")), *laws)))


def _bytes(value: object) -> Iterator[bytes]:
    """The numbers of an array, a named tuple or a dataclass, each part with its shape."""
    if isinstance(value, np.ndarray):
        yield repr((value.dtype.str, value.shape)).encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, tuple):
        for part in value:
            yield from _bytes(part)
    elif is_dataclass(value):
        for each in fields(value):
            yield from _bytes(getattr(value, each.name))
    else:
        yield repr(value).encode()


def _digest(*parts: bytes) -> str:
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _place(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key[2:]}.json"


def _write(path: Path, observed: Observed) -> None:
    content = json.dumps(observed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as stream:
        stream.write(_digest(content.encode()) + "\n" + content)
    Path(stream.name).replace(path)


def _read(path: Path) -> Observed | None:
    try:
        seal, _, content = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    if seal != _digest(content.encode()):
        return None
    values, frozen = json.loads(content)
    return _numbers(values), _numbers(frozen)


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
