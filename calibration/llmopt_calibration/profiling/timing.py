"""Time of one operator: warmed up, caches cold, the median of repetitions.

On CUDA, events around the operator, with a write of twice the L2 cache before each: serving reads weights
that were evicted since the last step, and while that write runs the launch is queued, so that launch gaps of
the host are not measured. On a processor, the host's clock.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from llmopt_calibration.profiling.table import Timing

Operator = Callable[[], object]
WARM_UP = 3
FEWEST, MOST = 9, 101
BUDGET_S = 0.05
"""Repetitions stop at this much time, between the fewest and the most."""
LEAST_FLUSH_BYTES = 2**25
SMI_QUERY = ("nvidia-smi", "--query-gpu=clocks.sm,temperature.gpu", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """A device's clock."""

    device: str
    flush: Any = None
    """A tensor to overwrite before each repetition; None on a processor."""

    @classmethod
    def of(cls, device: str) -> Stopwatch:
        """The clock of `cuda` or `cpu`."""
        if device == "cpu":
            return cls(device)
        cache_bytes = torch.cuda.get_device_properties(device).L2_cache_size
        size = max(2 * cache_bytes, LEAST_FLUSH_BYTES)
        return cls(device, torch.empty(size, dtype=torch.int8, device=device))

    def time(self, run: Operator) -> Timing:
        """The median of repetitions of `run`, with their spread, the SM clock and the temperature."""
        once = self._once_on_host if self.flush is None else self._once_on_device
        for _ in range(WARM_UP):
            first_s = once(run)
        repetitions = min(MOST, max(FEWEST, int(BUDGET_S / max(first_s, 1e-7))))
        seconds = sorted(once(run) for _ in range(repetitions))
        clock, temperature = ("", "") if self.flush is None else clocks(self.device)
        low, high = seconds[repetitions // 10], seconds[-1 - repetitions // 10]
        return Timing(
            round(statistics.median(seconds) * 1e6, 4), repetitions, round(high / low, 3), clock, temperature
        )

    def _once_on_device(self, run: Operator) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush.zero_()
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def _once_on_host(self, run: Operator) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


def clocks(device: str) -> tuple[str, str]:
    """SM clock in MHz and temperature in °C as the driver reports them; empty where it does not."""
    index = torch.device(device).index or 0
    try:
        done = subprocess.run(
            [*SMI_QUERY, f"--id={index}"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "", ""
    cells = [cell.strip() for cell in done.stdout.split(",")]
    return (cells[0], cells[1]) if len(cells) == 2 and all(cell.isdigit() for cell in cells) else ("", "")
