"""Drawn traffic in the simulator: saved and replayed it gives the identical run; turns hit earlier turns."""

from __future__ import annotations

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


def test_thinking_users_are_refused_rather_than_ignored(make: Any) -> None:
    loop = {"process": "closed_loop", "concurrency": 4, "think_time": "2 s"}
    drawn = sample(Traffic.model_validate({"arrivals": loop} | LENGTHS), 40, 6)
    with pytest.raises(SimulationError, match="think"):
        served(drawn, make)
