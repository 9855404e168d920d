"""All-reduces over several devices of this machine: one process a device, NCCL on GPUs, gloo on processors.

The processes of one degree live as long as its cases; the slowest rank's median is the time, since all wait
for it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from llmopt_calibration.profiling.plan import BF16_BYTES, Case
from llmopt_calibration.profiling.table import Timing

WARM_UP, REPETITIONS = 5, 31


def available_ranks(device: str) -> int:
    """Devices that can reduce together: all GPUs, or two processes on a processor."""
    return 2 if device == "cpu" else int(torch.cuda.device_count())


def reduce_all(cases: Sequence[Case], device: str) -> Iterator[tuple[Case, Timing]]:
    """The timing of every all-reduce of `cases`, as soon as it is known."""
    for ranks, group in groupby(
        sorted(cases, key=lambda case: case.shape["ranks"]), lambda c: c.shape["ranks"]
    ):
        yield from _degree(list(group), ranks, device)


def _degree(cases: list[Case], ranks: int, device: str) -> Iterator[tuple[Case, Timing]]:
    with tempfile.TemporaryDirectory() as folder:
        results = processes.get_context("spawn").Queue()
        sizes = [case.shape["message_bytes"] for case in cases]
        arguments = (ranks, device, str(Path(folder) / "store"), sizes, results)
        running = processes.spawn(_worker, arguments, nprocs=ranks, join=False)
        try:
            for case in cases:
                yield case, _slowest([_next(results, running) for _ in range(ranks)])
            while not running.join():
                pass
        finally:
            for process in running.processes:
                process.terminate()


def _next(results: Any, running: Any) -> list[float]:
    """One rank's times; a dead worker's error instead of waiting for ever."""
    while results.empty():
        running.join(timeout=0.05)
    times: list[float] = results.get()
    return times


def _slowest(ranks: list[list[float]]) -> Timing:
    times = sorted(max(ranks, key=statistics.median))
    tenth = len(times) // 10
    spread = times[-1 - tenth] / times[tenth]
    return Timing(round(statistics.median(times) * 1e6, 4), len(times), round(spread, 3))


def _worker(rank: int, ranks: int, device: str, store: str, sizes: list[int], results: Any) -> None:
    """One rank: reduce every size, send its times in seconds."""
    here = "cpu" if device == "cpu" else f"cuda:{rank}"
    torch.set_num_threads(1)
    if device != "cpu":
        torch.cuda.set_device(rank)
    backend = "gloo" if device == "cpu" else "nccl"
    dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=ranks)
    for size in sizes:
        message = torch.ones(max(1, size // BF16_BYTES), dtype=torch.bfloat16, device=here)
        times = [_once(message, here) for _ in range(WARM_UP + REPETITIONS)]
        results.put(times[WARM_UP:])
        dist.barrier()
    dist.destroy_process_group()


def _once(message: Any, here: str) -> float:
    """Seconds of one all-reduce, started together."""
    dist.barrier()
    if here == "cpu":
        start = time.perf_counter()
        dist.all_reduce(message)
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    dist.all_reduce(message)
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e-3
