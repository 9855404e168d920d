"""Seconds for a million requests over 64 instances, with cache-aware routing and prefix caches."""

from __future__ import annotations

from harness import Figure, Outcome, timed
from serving.scenarios import deployment, law, service, shared_prefixes

from llmopt_simulator import metrics, simulate

INSTANCES = 64


def run(smoke: bool) -> Outcome:
    """Draw, simulate and measure; the process's peak memory is reported with it."""
    served = service(law())
    fleet = deployment(INSTANCES, "cache_aware", prefix_cache=True)
    simulate(shared_prefixes(1000, INSTANCES), fleet, served)  # loads the kernel
    count = 20_000 if smoke else 1_000_000
    workload, drawing = timed("draw", lambda: shared_prefixes(count, INSTANCES))
    simulated, simulating = timed("simulate", lambda: simulate(workload, fleet, served))
    values, measuring = timed("measure", lambda: metrics(simulated))
    if values["saturated"]:
        raise RuntimeError("the fleet is saturated: its backlog would be measured, not its requests")
    seconds = simulating.cpu_s + measuring.cpu_s
    figures = (
        Figure("seconds", seconds, "s"),
        Figure("requests_per_cpu_s", count / seconds, "1/s"),
        Figure("hit_rate", values["hit_rate"], "1"),
    )
    return Outcome(figures, (drawing, simulating, measuring))
