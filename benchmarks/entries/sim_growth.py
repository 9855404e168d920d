"""How the time per request grows with the number of requests, and with the number of instances."""

from __future__ import annotations

from harness import Figure, Outcome, Phase, timed
from serving.scenarios import conversations, deployment, law, service, shared_prefixes

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator import ServiceModel, metrics, simulate


def _fastest(name: str, workload: Workload, chosen: Deployment, served: ServiceModel, repeats: int) -> Phase:
    """The run of `repeats` with the least CPU time: what the machine disturbed least."""
    phases = [timed(name, lambda: metrics(simulate(workload, chosen, served)))[1] for _ in range(repeats)]
    return min(phases, key=lambda phase: phase.cpu_s)


def run(smoke: bool) -> Outcome:
    """Time per request at both ends of either scale; every instance always has the same load."""
    served = service(law())
    few, many, wide = (500, 2000, 8) if smoke else (10_000, 1_000_000, 256)
    spread = 2000 if smoke else 100_000
    aware = {"router": "cache_aware", "prefix_cache": True}
    metrics(simulate(conversations(100), deployment(), served))
    short = _fastest("few", conversations(few), deployment(), served, 5)
    long = _fastest("many", conversations(many), deployment(), served, 1)
    cells = [
        _fastest(f"{kind}_{n}", shared_prefixes(spread, n), deployment(n, **options), served, 2)  # type: ignore[arg-type]
        for kind, options in (("shortest", {}), ("aware", aware))
        for n in (1, wide)
    ]
    one, fleet, one_aware, fleet_aware = cells
    figures = (
        Figure("requests_growth", (long.cpu_s / many) / (short.cpu_s / few), "1"),
        Figure("instances_growth", fleet.cpu_s / one.cpu_s, "1"),
        Figure("instances_growth_cache_aware", fleet_aware.cpu_s / one_aware.cpu_s, "1"),
    )
    names = ("few", "many", "one", "wide", "one_cache_aware", "wide_cache_aware")
    phases = (short, long, *cells)
    return Outcome(figures, tuple(Phase(n, p.wall_s, p.cpu_s) for n, p in zip(names, phases, strict=True)))
