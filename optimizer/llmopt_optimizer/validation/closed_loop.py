"""The closed loop of a serving point: all users at once, ten requests each, mean latencies of all of them.

Small loops are simulated whole. A large one is cut to a few rounds: its first round holds the burst, its last
the emptying of the system, and those between are alike, so the means are put together from the mean of each
part with the weight that the part has in the whole loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmopt_calibration.sources.serving_points import ServingPoint
from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import Run, ServiceModel, SimulationOptions, simulate

ROUNDS = 10
"""Requests a user, of the load generator."""
FEWEST_ROUNDS = 4
WHOLE_REQUESTS = 1300
"""Loops of so many requests or fewer are simulated whole."""
PAGE_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Latencies:
    """Means over the requests of a loop."""

    ttft_s: float
    tpot_s: float


def loop_latencies(
    point: ServingPoint, deployment: Deployment, service: ServiceModel, seed: int = 0
) -> Latencies:
    """Mean TTFT and TPOT of the point's closed loop; raises `SimulationError` where it cannot run."""
    rounds = rounds_of(point.concurrency)
    work = closed_loop(point, rounds, seed)
    run = simulate(work, deployment, service, seed, SimulationOptions(warmup_fraction=0.0))
    return latencies(run, rounds)


def rounds_of(concurrency: int) -> int:
    """Rounds to simulate: all ten of a small loop, fewer of a large one."""
    return max(FEWEST_ROUNDS, min(ROUNDS, WHOLE_REQUESTS // concurrency))


def closed_loop(point: ServingPoint, rounds: int, seed: int) -> Workload:
    """`rounds` requests a user with uniform lengths, one random stream for inputs and one for outputs."""
    count = rounds * point.concurrency
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]
    inputs = streams[0].integers(point.shortest_input, point.longest_input + 1, count)
    outputs = streams[1].integers(point.shortest_output, point.longest_output + 1, count)
    nothing = np.zeros(0, np.int64)
    requests = Requests(np.zeros(count), inputs, outputs, np.zeros(count + 1, np.int64), nothing, PAGE_TOKENS)
    return Workload(requests, point.concurrency)


def latencies(run: Run, rounds: int) -> Latencies:
    """The means of ten rounds from a run of `rounds`; requests of one token have no TPOT."""
    first, arrival, finish = (run.column(name) for name in ("first_token_s", "arrival_s", "finish_s"))
    gaps = run.workload.requests.output_tokens - 1
    tpot = (finish - first)[gaps > 0] / gaps[gaps > 0]
    users = len(first) // rounds
    return Latencies(_mean(first - arrival, users, rounds), _mean(tpot, len(tpot) // rounds, rounds))


def _mean(values: NDArray[np.float64], users: int, rounds: int) -> float:
    """Mean over `ROUNDS` rounds: the first and the last as they are, the middle ones for all between."""
    if rounds >= ROUNDS:
        return float(values.mean())
    first, last = values[:users].mean(), values[-users:].mean()
    middle = values[users:-users].mean()
    return float((first + last + (ROUNDS - 2) * middle) / ROUNDS)
