"""The beginning of a workload: what arrives before a moment."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .requests import Requests, Workload

Column = TypeVar("Column", bound=np.generic)


def first_seconds(workload: Workload, duration_s: float) -> Workload | None:
    """The requests that arrive before `duration_s` by their planned times; None where there are none."""
    count = int(np.searchsorted(workload.requests.arrival_s, duration_s, side="left"))
    return first_requests(workload, count) if count else None


def first_requests(workload: Workload, count: int) -> Workload:
    """The first `count` requests; those that they follow came before them, so none is missing."""
    return replace(
        workload,
        requests=_head(workload.requests, count),
        think_s=_cut(workload.think_s, count),
        follows=_cut(workload.follows, count),
    )


def _head(requests: Requests, count: int) -> Requests:
    offsets = requests.block_offsets[: count + 1]
    return replace(
        requests,
        arrival_s=requests.arrival_s[:count],
        input_tokens=requests.input_tokens[:count],
        output_tokens=requests.output_tokens[:count],
        block_offsets=offsets,
        block_ids=requests.block_ids[: offsets[-1]],
        class_ids=_cut(requests.class_ids, count),
    )


def _cut(column: NDArray[Column] | None, count: int) -> NDArray[Column] | None:
    return None if column is None else column[:count]
