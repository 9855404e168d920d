"""From 8 to 4,096 accelerators, every number of instances allowed: how much longer a front takes."""

from __future__ import annotations

from harness import Figure, Outcome, Phase

from .solve_single import solved

SMALL, LARGE = 8, 4096


def _changes(gpus: int) -> tuple[str, ...]:
    return (
        f"hardware.accelerators.0.count={gpus}",
        f"search.instances={{range: {{min: 1, max: {gpus}, step: 1}}}}",
        f'traffic.arrivals.rate="{0.3 * gpus} req/s"',
    )


def run(smoke: bool) -> Outcome:
    """Both ends; the ratio is of CPU seconds, from the problem's text to the certificate."""
    solved(*_changes(SMALL))  # caches on disk and in memory are filled before either is timed
    small, large = solved(*_changes(SMALL)), solved(*_changes(64 if smoke else LARGE))
    cpu = [sum(phase.cpu_s for phase in each.phases) for each in (small, large)]
    phases = (Phase("small", small.seconds, cpu[0]), Phase("large", large.seconds, cpu[1]))
    figures = (
        Figure("seconds", large.seconds, "s", small.seconds),
        Figure("cpu_growth", cpu[1] / cpu[0], "times"),
        Figure("front_points", float(len(large.front.points)), "points", float(len(small.front.points))),
        Figure("combinations", float(large.program.size), "assignments", float(small.program.size)),
    )
    return Outcome(figures, phases)
