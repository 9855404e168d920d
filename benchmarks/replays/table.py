"""Measured latencies beside simulated ones, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator import Run
from replays.measured import MeasuredRun
from replays.replay import replay

STATISTICS: Final = ("mean", "p50", "p90", "p99")
QUINTILES: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """Latencies of every request in seconds, shape (n,)."""

    ttft_s: NDArray[np.float64]
    tpot_s: NDArray[np.float64]
    e2e_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One run: what was measured and what was simulated."""

    run: MeasuredRun
    measured: Latencies
    simulated: Latencies

    def errors(self, metric: str) -> dict[str, float]:
        """Simulated over measured minus 1, by statistic; `metric` is a field of `Latencies`."""
        found, true = (
            _statistics(getattr(self.simulated, metric)),
            _statistics(getattr(self.measured, metric)),
        )
        return {name: found[name] / true[name] - 1.0 for name in STATISTICS}


def compare(run: MeasuredRun, overhead_s: float = 0.0) -> Comparison:
    """Simulate a measured run."""
    requests, simulated = run.workload.requests, replay(run, overhead_s)
    measured = _latencies(requests.arrival_s, run.first_token_s, run.last_token_s, requests.output_tokens)
    return Comparison(run, measured, _of_run(simulated))


def _of_run(run: Run) -> Latencies:
    arrival_s, first_s, last_s = (run.column(name) for name in ("arrival_s", "first_token_s", "finish_s"))
    return _latencies(arrival_s, first_s, last_s, run.workload.requests.output_tokens)


def _latencies(
    arrival_s: NDArray[np.float64],
    first_s: NDArray[np.float64],
    last_s: NDArray[np.float64],
    output_tokens: NDArray[np.int64],
) -> Latencies:
    tpot_s = (last_s - first_s) / np.maximum(output_tokens - 1, 1)
    return Latencies(first_s - arrival_s, tpot_s, last_s - arrival_s)


def _statistics(values: NDArray[np.float64]) -> dict[str, float]:
    return {"mean": float(values.mean())} | {
        name: float(np.percentile(values, int(name[1:]))) for name in STATISTICS[1:]
    }


HEADER: Final = "| run | latency | mean | p50 | p90 | p99 |\n| --- | --- | ---: | ---: | ---: | ---: |"
"""The head of the table in Markdown: a cell is measured → simulated (error)."""


def rows(comparison: Comparison) -> Iterator[str]:
    """The rows of one run in Markdown."""
    for metric, name, scale, unit in (
        ("ttft_s", "TTFT", 1.0, "s"),
        ("tpot_s", "TPOT", 1e3, "ms"),
        ("e2e_s", "E2E", 1.0, "s"),
    ):
        true = _statistics(getattr(comparison.measured, metric))
        errors = comparison.errors(metric)
        cells = [
            f"{true[key] * scale:.4g} → {true[key] * (1 + errors[key]) * scale:.4g} ({errors[key]:+.1%})"
            for key in STATISTICS
        ]
        yield f"| {comparison.run.name} | {name} ({unit}) | {' | '.join(cells)} |"


def held_out_overhead_s(others: Sequence[Comparison]) -> float:
    """What the mean TPOT of other runs says that a step lasts beyond its kernels; 0 without other runs."""
    missing_s = [np.mean(other.measured.tpot_s - other.simulated.tpot_s) for other in others]
    return float(np.mean(missing_s)) if missing_s else 0.0


RESIDUAL_HEADER: Final = (
    "| run | requests by decodes beside them | TPOT measured (ms) | TPOT error | prompt tokens |\n"
    "| --- | ---: | ---: | ---: | ---: |"
)
WAIT_HEADER: Final = (
    "| run | requests by TTFT measured (s) | TTFT simulated − measured (s) |\n| --- | ---: | ---: |"
)


def residual_rows(comparison: Comparison) -> Iterator[str]:
    """The error of TPOT by the load that a request met: the mean number of decodes during its own."""
    run, true = comparison.run, comparison.measured.tpot_s
    error, load = comparison.simulated.tpot_s / true - 1.0, _decodes_beside(run)
    for group in np.array_split(np.argsort(load), QUINTILES):
        prompt, beside = run.workload.requests.input_tokens[group].mean(), load[group]
        between = f"{beside.min():.0f} … {beside.max():.0f}"
        tpot = f"{true[group].mean() * 1e3:.1f} | {error[group].mean():+.1%}"
        yield f"| {run.name} | {between} | {tpot} | {prompt:.0f} |"


def wait_rows(comparison: Comparison) -> Iterator[str]:
    """The difference of TTFT by its size: short ones met no queue."""
    run, true = comparison.run, comparison.measured.ttft_s
    for group in np.array_split(np.argsort(true), QUINTILES):
        difference = (comparison.simulated.ttft_s - true)[group].mean()
        yield f"| {run.name} | {true[group].min():.3g} … {true[group].max():.3g} | {difference:+.3f} |"


def _decodes_beside(run: MeasuredRun) -> NDArray[np.float64]:
    """Mean number of requests in decode over each request's decode, itself included, shape (n,)."""
    start, end = run.first_token_s, run.last_token_s
    both = np.minimum(end[:, None], end[None, :]) - np.maximum(start[:, None], start[None, :])
    return np.asarray(np.maximum(both, 0.0).sum(axis=1) / (end - start))
