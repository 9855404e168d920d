"""Drawn traffic in the simulator: saved and replayed it gives the identical run; turns hit earlier turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.schema import TraceArrivals, Traffic
from llmopt_problems.traffic import Workload, sample, save, traffic_summary
from llmopt_simulator import Run, ServiceModel, simulate
from llmopt_simulator.errors import SimulationError

POOL = PoolDeployment("serve", "any", Layout(), instances=1, chunk_tokens=512, batch_cap=32)
LENGTH = {"distribution": "lognormal", "mean": 90.0, "cv": 1.0, "max": 300}
LENGTHS = {"input_tokens": LENGTH, "output_tokens": LENGTH}
PREFIX = {"tokens": 64, "groups": 3, "zipf_exponent": 1.0}
CHAT = {
    "turns": {"distribution": "uniform", "min": 1, "max": 4},
    "think_time": "30 s",
    "think_time_cv": 0.2,
    "max_input_tokens": 900,
}
DESCRIBED: dict[str, dict[str, Any]] = {
    "bursts": {"arrivals": {"process": "on_off", "rate": "2 req/s", "burst": "3 s", "silence": "9 s"}}
    | LENGTHS
    | {"shared_prefix": PREFIX | {"share": 0.5}},
    "loop": {"arrivals": {"process": "closed_loop", "concurrency": 4}} | LENGTHS,
    "chat": {
        "arrivals": {"process": "poisson", "rate": "1 req/s"},
        "classes": [
            {"name": "talk", "share": 0.5, "conversation": CHAT, "shared_prefix": PREFIX} | LENGTHS,
            {"name": "code", "share": 0.5} | LENGTHS,
        ],
    },
}


def served(workload: Workload, make: Any) -> Run:
    """The run of a workload on one instance with room for everything."""
    service = ServiceModel((make.service(POOL, page=16, constant=1e-3, n=1e-5),))
    return simulate(workload, Deployment("aggregated", (POOL,)), service)


@pytest.mark.parametrize("kind", DESCRIBED)
def test_a_replayed_workload_gives_the_identical_run(kind: str, tmp_path: Path, make: Any) -> None:
    drawn = sample(Traffic.model_validate(DESCRIBED[kind]), 400, 6)
    file = tmp_path / "t.jsonl.gz"
    save(drawn, file)
    section = TraceArrivals.model_validate({"process": "trace", "file": str(file), "format": "llmopt"})
    again = sample(Traffic(arrivals=section), 400, 1)
    first, second = served(drawn, make), served(again, make)
    assert first.state.requests.tobytes() == second.state.requests.tobytes()
    assert first.state.totals.tobytes() == second.state.totals.tobytes()


def test_later_turns_hit_what_the_turns_before_sent(make: Any) -> None:
    described = Traffic.model_validate(
        {"arrivals": {"process": "poisson", "rate": "1 req/s"}, "conversation": CHAT} | LENGTHS
    )
    drawn = sample(described, 1500, 6)
    hits = served(drawn, make).hit_tokens
    assert drawn.follows is not None
    later = drawn.follows >= 0
    before = drawn.follows[later]
    sent = drawn.requests.input_tokens[before] // 16 * 16
    known = (drawn.requests.input_tokens + drawn.requests.output_tokens)[before]
    # Users think for some thirty seconds and answers take one: what was sent is in the cache.
    assert np.all(hits[later] >= sent)
    assert np.all(hits[later] <= known)
    assert hits.mean() <= traffic_summary(described).mean_shared_prefix_tokens * 1.02


def test_turns_come_when_the_answer_has_ended_and_the_user_has_thought(make: Any) -> None:
    drawn = sample(Traffic.model_validate(DESCRIBED["chat"]), 1500, 6)
    run = served(drawn, make)
    assert drawn.follows is not None
    assert drawn.think_s is not None
    later = drawn.follows >= 0
    arrival_s, answered_s = run.column("arrival_s"), run.column("finish_s")[drawn.follows]
    np.testing.assert_allclose(arrival_s[later], (answered_s + drawn.think_s)[later], rtol=0, atol=0)
    np.testing.assert_allclose(arrival_s[~later], drawn.requests.arrival_s[~later], rtol=0, atol=0)
    measured = arrival_s[run.window.members]
    assert np.all(np.diff(measured) >= 0.0)
    assert len(measured) == run.window.stop - run.window.start
    assert np.all(measured >= run.window.opens.time_s)
    assert np.all(measured <= run.window.closes.time_s)


def test_a_user_sends_the_next_request_after_a_pause(make: Any) -> None:
    """Four users: everyone's requests, one after the other, with the pauses that were drawn."""
    loop = {"process": "closed_loop", "concurrency": 4, "think_time": "2 s"}
    drawn = sample(Traffic.model_validate({"arrivals": loop} | LENGTHS), 400, 6)
    run = served(drawn, make)
    assert drawn.think_s is not None
    free_s = np.sort(run.column("finish_s"))
    begins_s = run.column("arrival_s") - drawn.think_s
    np.testing.assert_allclose(np.sort(begins_s)[4:], free_s[:-4], rtol=1e-12)


@pytest.mark.parametrize("users", [1, 6, 15, 40])
def test_thinking_users_meet_the_machine_repairman(make: Any, users: int) -> None:
    """M/M/1//N: one server of one request at a time, N users who think exponentially (Z = 10 services).

    Exact throughput by mean value analysis of one FCFS station and a delay; within 4 standard errors.
    """
    rng, count, mean, think_s = np.random.default_rng(users), 40_000, 200.0, 10.0
    tokens = rng.geometric(1.0 / mean, count)
    one = PoolDeployment("serve", "any", Layout(), instances=1, chunk_tokens=1 << 16, batch_cap=1)
    service = ServiceModel((make.service(one, p=1.0 / mean),))
    pauses = rng.exponential(think_s, count)
    drawn = replace(make.workload(np.zeros(count), tokens, 1, users), think_s=pauses)
    run = simulate(drawn, Deployment("aggregated", (one,), "central_queue"), service)
    queue, rate = 0.0, 0.0
    for n in range(1, users + 1):
        rate = n / (think_s + 1.0 + queue)
        queue = rate * (1.0 + queue)
    done = np.sort(run.column("finish_s"))
    batches = 1.0 / (np.diff(done[::2000]) / 2000)
    error = batches.std(ddof=1) / np.sqrt(len(batches))
    assert abs(batches.mean() - rate) < 4.0 * error


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"think_s": np.array([0.0, -1.0, 0.0])}, "seconds, 0 or more"),
        ({"think_s": np.zeros(2)}, "3 requests"),
        ({"follows": np.array([-1, 1, 0])}, "request 1 follows request 1"),
        ({"follows": np.array([-1, -1])}, "3 requests"),
    ],
)
def test_turns_that_cannot_be(make: Any, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SimulationError, match=complaint):
        served(replace(make.workload([0.0, 1.0, 2.0], 5, 5), **changes), make)
