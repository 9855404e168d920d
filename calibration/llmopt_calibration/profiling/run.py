"""A profiling run: what is left of the plan is measured case by case, and each row is kept at once."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from llmopt_calibration.profiling.collectives import available_ranks, reduce_all
from llmopt_calibration.profiling.operators import NotMeasurableError, has_fp8, operator
from llmopt_calibration.profiling.plan import Case, Size, plan
from llmopt_calibration.profiling.table import Device, Timing, append, measured_before, remaining
from llmopt_calibration.profiling.timing import Stopwatch

TOOL = "llmopt profile (PyTorch kernels)"


@dataclass(frozen=True, slots=True)
class Profiling:
    """What a run is asked for."""

    device: str
    """cuda, cuda:1, … or cpu."""
    size: Size
    out: Path
    families: tuple[str, ...] = ()
    """Only these; all when empty."""


@dataclass(frozen=True, slots=True)
class Step:
    """One case of a run: its timing, or why there is none."""

    case: Case
    timing: Timing | None
    reason: str
    left: int


class NoDeviceError(Exception):
    """The machine has no device of the kind that was asked for."""


def describe(device: str) -> Device:
    """Name and clock of the device; `NoDeviceError` where PyTorch sees none."""
    version = f"torch {torch.__version__}"
    if device == "cpu":
        return Device(f"cpu: one thread of {_processor()}", "host", TOOL, version, date.today().isoformat())
    if not torch.cuda.is_available():
        raise NoDeviceError("PyTorch sees no CUDA device; --device cpu measures this processor instead")
    name = torch.cuda.get_device_name(device)
    return Device(name, "cuda_event", TOOL, version, date.today().isoformat())


def measure(asked: Profiling) -> Iterator[Step]:
    """Measure what the file does not hold yet; every step's row is on disk when it is yielded."""
    device = describe(asked.device)
    if asked.device == "cpu":
        torch.set_num_threads(1)  # threads that wait for each other on a busy machine time the scheduler
    ranks = available_ranks(asked.device)
    cases = [
        case
        for case in plan(asked.size, fp8=has_fp8(asked.device), ranks=ranks)
        if not asked.families or case.family in asked.families
    ]
    left = remaining(cases, measured_before(asked.out, device))
    for index, (case, timing, reason) in enumerate(_timed(left, asked.device), 1):
        if timing is not None:
            append(asked.out, case, timing, device)
        yield Step(case, timing, reason, len(left) - index)


def _timed(cases: Sequence[Case], device: str) -> Iterator[tuple[Case, Timing | None, str]]:
    """Every case with its timing, or with why it has none; those of several devices last."""
    clock = Stopwatch.of(device)
    for case in cases:
        if case.family != "all_reduce":
            yield case, *_alone(case, device, clock)
    together = [case for case in cases if case.family == "all_reduce"]
    for case, timing in reduce_all(together, device):
        yield case, timing, ""


def _alone(case: Case, device: str, clock: Stopwatch) -> tuple[Timing | None, str]:
    try:
        return clock.time(operator(case, device)), ""
    except torch.OutOfMemoryError:
        return None, "out of memory"
    except NotMeasurableError as error:
        return None, str(error)


def _processor() -> str:
    """The processor's name: Linux says it in /proc/cpuinfo only."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
