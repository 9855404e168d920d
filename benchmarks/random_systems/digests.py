"""What a run leaves, as a digest: equal bytes are equal runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from llmopt_problems.schema import Traffic
from llmopt_problems.traffic import sample
from llmopt_simulator import Run, SimulationError, metrics, replicate, simulate
from random_systems.cases import Outcome, random_system
from random_systems.watchdog import watched

LIMIT_S: Final = 600.0


def digest(cases: Sequence[int], workers: int) -> str:
    """SHA-256 of all that the random systems of these numbers leave, and of drawn traffic replicated."""
    sha = hashlib.sha256()
    for outcome in watched(digest_case, cases, LIMIT_S, workers):
        sha.update(outcome.reason.encode())
    sha.update(_replicated().encode())
    return sha.hexdigest()


def digest_case(case: int) -> Outcome:
    """Its digest as the reason: of the final state and of every metric, or of the refusal."""
    system = random_system(np.random.default_rng(case))
    try:
        run = simulate(system.workload, system.deployment, system.service, case, system.options)
    except SimulationError as error:
        return Outcome("refused", str(error))
    return Outcome("served", _of_run(run))


def _of_run(run: Run) -> str:
    state, sha = run.state, hashlib.sha256()
    for records in (state.requests, state.ranks, state.world):
        for name in records.dtype.names or ():
            if not name.startswith("compiled_from"):  # a fingerprint of the sources, in the field's name
                sha.update(np.ascontiguousarray(records[name]).tobytes())
    for array in (state.totals, state.itl):
        sha.update(array.tobytes())
    sha.update(repr(metrics(run)).encode())
    return sha.hexdigest()


def _replicated() -> str:
    """Metrics and intervals of drawn traffic."""
    lengths = {"distribution": "lognormal", "mean": 30.0, "cv": 1.0, "max": 60}
    section = {"arrivals": {"process": "gamma", "rate": "2 req/s", "cv": 2.0}}
    traffic = Traffic.model_validate(section | {"input_tokens": lengths, "output_tokens": lengths})
    system = random_system(np.random.default_rng(0))
    evidence = replicate(lambda seed: sample(traffic, 200, seed), system.deployment, system.service, seed=3)
    return repr(sorted(evidence.metrics.items()))
