"""Milliseconds of one evaluation inside the optimization loop: five replications of 2,000 requests."""

from __future__ import annotations

from functools import partial

from harness import Figure, Outcome, timed
from serving.scenarios import conversations, deployment, law, service

from llmopt_simulator import ServiceLevel, replicate

LEVELS = (ServiceLevel("ttft", "p95", 1.0), ServiceLevel("tpot", "p95", 0.1))


def run(smoke: bool) -> Outcome:
    """Replicate: traffic drawn anew, simulated, measured, intervals and verdicts; the fastest of several."""
    served = service(law())
    requests = 200 if smoke else 2000
    evaluate = partial(replicate, partial(conversations, requests), deployment(), served, levels=LEVELS)
    evaluate()
    phases = [timed("evaluate", evaluate)[1] for _ in range(2 if smoke else 11)]
    middle = sorted(phases, key=lambda phase: phase.cpu_s)[len(phases) // 2]
    return Outcome((Figure("seconds", middle.cpu_s, "s"),), (middle,))
