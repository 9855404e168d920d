"""Every trace format and its reader."""

from __future__ import annotations

from typing import assert_never

from ..schema.arrivals import TraceArrivals
from . import azure, benchmarks, burstgpt, mooncake, own, sharegpt, vidur
from .rows import Stream


def open_trace(arrivals: TraceArrivals) -> Stream:
    """The trace that a problem names, opened but hardly read; ProblemError when its head is broken."""
    match arrivals.format:
        case "mooncake":
            return Stream(mooncake.rows(arrivals.file), mooncake.BLOCK_TOKENS)
        case "azure":
            return Stream(azure.rows(arrivals.file))
        case "burstgpt":
            return Stream(burstgpt.rows(arrivals.file))
        case "vidur":
            return Stream(vidur.rows(arrivals.file))
        case "sharegpt":
            rows = sharegpt.rows(arrivals.file, arrivals.characters_per_token)
            return Stream(rows, timed=False, estimated=arrivals.characters_per_token is not None)
        case "sglang" | "vllm":
            return benchmarks.stream(arrivals.file)
        case "llmopt":
            return own.stream(arrivals.file)
        case _:
            assert_never(arrivals.format)
