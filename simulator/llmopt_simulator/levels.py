"""Service levels, and which requests keep them.

A level bounds one statistic of one latency, for all requests or for those of one class. A request attains
its service when it keeps the bound of every level that concerns it, whatever the level's statistic; goodput
counts such requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.traffic.requests import Requests
from llmopt_simulator.errors import SimulationError

LatencyTable = Mapping[str, NDArray[np.float64]]
"""Latencies of every request in seconds, by name, shape (n,) each."""


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """A bound on one statistic of one latency, in seconds."""

    metric: str
    """`ttft`, `tpot`, `itl`, `e2e` or `queueing`."""
    statistic: str
    """`mean`, `p50`, `p90`, `p95` or `p99`."""
    at_most_s: float
    request_class: int | None = None
    """The class of requests that it is promised to (`Requests.class_ids`); None: to all."""

    def __post_init__(self) -> None:
        """Refuse what runs do not keep: inter-token latencies of a class."""
        if self.metric == "itl" and self.request_class is not None:
            raise SimulationError(
                f"inter-token latencies are not kept by class (here {self.request_class}): bound tpot"
            )

    @property
    def key(self) -> str:
        """The metric's name."""
        prefix = "" if self.request_class is None else class_prefix(self.request_class)
        return f"{prefix}{self.metric}_{self.statistic}_s"


def class_prefix(request_class: int) -> str:
    """What the names of a class's metrics begin with."""
    return f"class{request_class}_"


def class_ids(requests: Requests) -> NDArray[np.int64]:
    """Class of every request, shape (n,); all 0 where the workload tells none apart."""
    if requests.class_ids is None:
        return np.zeros(len(requests), np.int64)
    return requests.class_ids


def classes(requests: Requests, levels: Sequence[ServiceLevel]) -> list[int]:
    """The classes that are measured apart: of the requests, if they have any, and of the levels."""
    named = {level.request_class for level in levels if level.request_class is not None}
    found = set() if requests.class_ids is None else set(np.unique(requests.class_ids).tolist())
    return sorted(named | found)


def attained(
    requests: Requests, finished: NDArray[np.bool_], latencies: LatencyTable, levels: Sequence[ServiceLevel]
) -> NDArray[np.bool_]:
    """Whether each request was served within every level that concerns it, shape (n,).

    Inter-token latencies are not kept by request, so an `itl` bound is held against the request's TPOT.
    """
    good, ids = finished.copy(), class_ids(requests)
    for level in levels:
        kept = _meets(latencies, level)
        good &= kept if level.request_class is None else kept | (ids != level.request_class)
    return good


def _meets(latencies: LatencyTable, level: ServiceLevel) -> NDArray[np.bool_]:
    values = latencies["tpot" if level.metric == "itl" else level.metric]
    return (values <= level.at_most_s) | np.isnan(values)
