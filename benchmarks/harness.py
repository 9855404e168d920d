"""A benchmark is a function that runs once in a fresh process and tells what it measured.

It returns an `Outcome`: its phases with wall and CPU seconds, and its figures, each with the value that a
baseline reached in the same run. The driver repeats it, takes medians, and adds the process's peak memory.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import TypedDict, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `baseline` is the same metric of the simplest other way, in the same unit."""

    metric: str
    value: float
    unit: str
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """A named part of a run, with the time it took."""

    name: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run measured."""

    figures: tuple[Figure, ...]
    phases: tuple[Phase, ...] = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """An entry of the registry. Its module is loaded by the process that runs it, and by no other."""

    name: str
    measures: str
    """What the number means, and what the baseline is, in a sentence."""
    phases: tuple[str, ...]
    """Names of the phases that every run reports."""

    def run(self, smoke: bool) -> Outcome:
        """Run once; a smoke pass takes seconds and its numbers mean little."""
        outcome: Outcome = import_module(f"entries.{self.name}").run(smoke)
        names = tuple(phase.name for phase in outcome.phases)
        if names != self.phases:
            raise RuntimeError(f"{self.name} declares the phases {self.phases}, ran {names}")
        return outcome


class Row(TypedDict):
    """One row of the JSON file."""

    name: str
    metric: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None


def timed(name: str, work: Callable[[], Value]) -> tuple[Value, Phase]:
    """The value of `work()` and the phase that it was; CPU seconds count finished child processes too."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    value = work()
    return value, Phase(name, time.perf_counter() - wall, _cpu_seconds() - cpu)


def rate(work: Callable[[], int], at_least_s: float) -> float:
    """Items a second of `work`, which returns how many it did, repeated for `at_least_s` seconds or more."""
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < at_least_s or not done:
        done += work()
    return done / elapsed


def rows(name: str, outcomes: Sequence[Outcome], peak_bytes: Sequence[float]) -> list[Row]:
    """Medians over the runs of one benchmark: its figures, its phases, its peak memory."""
    figures = [_figure_row(name, column) for column in zip(*(run.figures for run in outcomes), strict=True)]
    phases = [
        row for column in zip(*(run.phases for run in outcomes), strict=True) for row in _times(name, column)
    ]
    return [*figures, *phases, _row(name, "peak_memory", median(peak_bytes), "B")]


def _figure_row(name: str, runs: Sequence[Figure]) -> Row:
    """The ratio is taken inside each run, where both sides met the same machine, before the median."""
    first = runs[0]
    value = median(figure.value for figure in runs)
    pairs = [(figure.value, figure.baseline) for figure in runs if figure.baseline is not None]
    if not pairs:
        return _row(name, first.metric, value, first.unit)
    row = _row(name, first.metric, value, first.unit)
    row["baseline"] = median(baseline for _, baseline in pairs)
    row["ratio"] = median(mine / baseline for mine, baseline in pairs)
    return row


def _times(name: str, runs: Sequence[Phase]) -> tuple[Row, Row]:
    phase = runs[0].name
    wall = _row(name, f"{phase}_wall", median(run.wall_s for run in runs), "s")
    return wall, _row(name, f"{phase}_cpu", median(run.cpu_s for run in runs), "s")


def _row(name: str, metric: str, value: float, unit: str) -> Row:
    return {"name": name, "metric": metric, "value": value, "unit": unit, "baseline": None, "ratio": None}


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # finer than the ticks of os.times
    return time.process_time() + children.ru_utime + children.ru_stime
