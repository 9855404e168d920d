"""The rules that the requests of a workload must keep, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.traffic.requests import Requests, Workload

LARGEST_COUNT: Final = 2**31 - 1
_LATEST_S: Final = 1e9
_LATE: Final = (
    "beyond 1e9 s, where steps of microseconds are lost: give seconds from the start of the run, no date"
)


def workload_problems(workload: Workload) -> Iterator[str]:
    """What is wrong with requests, with how they come, or with who waits for whom."""
    yield from _request_problems(workload.requests)
    yield from _arrival_problems(workload)
    yield from _turn_problems(workload)


def is_count(value: object) -> bool:
    """Whether a value is a whole number by type: no truth value, no 2.0."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _array_problems(requests: Requests) -> Iterator[str]:
    """Arrays of another shape or type would be read as something else, silently."""
    if requests.arrival_s.dtype.kind not in "iuf" or requests.arrival_s.ndim != 1:
        yield f"arrival_s is {_kind(requests.arrival_s)}: give numbers, shape (n,)"
    for name in ("input_tokens", "output_tokens", "block_offsets", "block_ids"):
        yield from _whole_numbers(name, getattr(requests, name))
    if requests.class_ids is not None:
        yield from _whole_numbers("class_ids", requests.class_ids)
        if len(requests.class_ids) != len(requests) or requests.class_ids.min() < 0:
            yield f"class_ids has {len(requests.class_ids)} entries for {len(requests)} requests: " + (
                "give one each, from 0"
            )


def _whole_numbers(name: str, values: NDArray[Any]) -> Iterator[str]:
    if values.dtype.kind not in "iu" or values.ndim != 1:
        yield f"{name} is {_kind(values)}: give whole numbers (int64), one axis"


def _kind(values: NDArray[Any]) -> str:
    return f"{values.dtype} of shape {values.shape}"


def _request_problems(requests: Requests) -> Iterator[str]:
    count = len(requests)
    if count == 0:
        yield "the workload has no requests: nothing can be measured; give at least one"
        return
    yield from _array_problems(requests)
    for name, tokens in (("input", requests.input_tokens), ("output", requests.output_tokens)):
        if len(tokens) != count:
            yield f"{name}_tokens has {len(tokens)} entries for {count} requests: give one a request"
        elif tokens.min() < 1 or tokens.max() > LARGEST_COUNT:
            i = int(np.argmax((tokens < 1) | (tokens > LARGEST_COUNT)))
            yield f"request {i} has {name}_tokens = {tokens[i]}: counts are from 1 to 2^31 - 1"
    yield from _block_problems(requests)


def _block_problems(requests: Requests) -> Iterator[str]:
    offsets = requests.block_offsets
    if len(offsets) != len(requests) + 1 or offsets[-1] != len(requests.block_ids):
        yield f"block_offsets has {len(offsets)} entries, ends at {offsets[-1:]}: give n + 1, up to block_ids"
        return
    blocks = np.diff(offsets)
    if requests.block_tokens < 1:
        yield f"block_tokens is {requests.block_tokens}: a block has at least one token"
    elif blocks.min() < 0 or offsets[0] != 0:
        yield "block_offsets must start at 0 and never fall"
    elif np.any(blocks * requests.block_tokens > requests.input_tokens):
        i = int(np.argmax(blocks * requests.block_tokens > requests.input_tokens))
        yield (
            f"request {i} names {blocks[i]} blocks of {requests.block_tokens} tokens but has "
            f"{requests.input_tokens[i]} input tokens: name full blocks only"
        )
    elif len(requests.block_ids) and requests.block_ids.min() < 0:
        yield f"block id {requests.block_ids.min()} is negative: ids are dense and start at 0"


def _arrival_problems(workload: Workload) -> Iterator[str]:
    if workload.concurrency is not None:
        if not is_count(workload.concurrency) or workload.concurrency < 1:
            yield f"concurrency is {workload.concurrency}: give a whole number of users, at least one"
        return
    arrival_s = workload.requests.arrival_s
    if len(arrival_s) and arrival_s[-1] > _LATEST_S:
        yield f"a request arrives at {arrival_s[-1]} s, {_LATE}"
    elif not np.all(np.isfinite(arrival_s)) or arrival_s[0] < 0.0:
        yield "arrival_s holds a negative, infinite or missing time: give seconds from the start of the run"
    elif np.any(np.diff(arrival_s) < 0.0):
        i = int(np.argmax(np.diff(arrival_s) < 0.0))
        yield f"request {i + 1} arrives at {arrival_s[i + 1]} s, before request {i}: sort by arrival"


def _turn_problems(workload: Workload) -> Iterator[str]:
    think_s, follows, count = workload.think_s, workload.follows, len(workload.requests)
    if think_s is not None:
        if len(think_s) != count:
            yield f"think_s has {len(think_s)} entries for {count} requests: give one a request, or None"
        elif not np.all((think_s >= 0.0) & np.isfinite(think_s)):
            yield "think_s holds a negative, infinite or missing time: give seconds, 0 or more"
        elif think_s.max(initial=0.0) > _LATEST_S:
            yield f"a user thinks for {think_s.max()} s, {_LATE}"
    if follows is None:
        return
    yield from _whole_numbers("follows", follows)
    if len(follows) != count:
        yield f"follows has {len(follows)} entries for {count} requests: give one a request, or None"
    elif np.any((follows >= np.arange(count)) | (follows < -1)):
        i = int(np.argmax((follows >= np.arange(count)) | (follows < -1)))
        yield f"request {i} follows request {follows[i]}: name an earlier one, or -1"
