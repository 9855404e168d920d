"""Requests a CPU-second of scenario S1, with every metric; a plain Python loop runs the first of them too."""

from __future__ import annotations

import numpy as np
from harness import Figure, Outcome, timed
from serving.plain_loop import finish_times
from serving.python_law import python_law
from serving.scenarios import conversations, deployment, law, measured_lengths, pool, service

from llmopt_simulator import Run, ServiceLevel, frozen_parameters, metrics, simulate
from llmopt_simulator.kernel.state import DECODE_TOKENS, STEPS

LEVELS = (ServiceLevel("ttft", "p95", 1.0), ServiceLevel("tpot", "p99", 0.1))
SAMPLE = 1000


def _measure(run: Run) -> dict[str, float]:
    values = metrics(run, LEVELS)
    return values | frozen_parameters(run, values)


def run(smoke: bool) -> Outcome:
    """Simulate 16,000 requests, measure them, and check the first against the plain loop."""
    step_law = law()
    served = service(step_law)
    _measure(simulate(conversations(100), deployment(), served))  # loads the kernel, fills the caches
    workload = conversations(500 if smoke else 16_000)
    simulated, simulating = timed("simulate", lambda: simulate(workload, deployment(), served))
    _, measuring = timed("measure", lambda: _measure(simulated))

    sample, plain = conversations(SAMPLE), python_law(step_law, served.pools[0].step)
    theirs, looping = timed("plain_loop", lambda: finish_times(sample, pool(), plain))
    ours = simulate(sample, deployment(), served).column("finish_s")
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg="the plain loop disagrees")

    totals = simulated.state.totals.sum(axis=0)
    rate = len(workload.requests) / (simulating.cpu_s + measuring.cpu_s)
    figures = (
        Figure("requests_per_cpu_s", rate, "1/s", SAMPLE / looping.cpu_s),
        Figure("steps", float(totals[STEPS]), "1"),
        Figure("sequence_steps", float(totals[DECODE_TOKENS]), "1"),
        Figure("lengths_are_measured", float(measured_lengths() is not None), "1"),
    )
    return Outcome(figures, (simulating, measuring, looping))
