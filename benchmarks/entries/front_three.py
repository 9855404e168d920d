"""Three objectives (cost, time per token, time to first token): about a hundred nondominated points,
complete.
"""

from __future__ import annotations

from harness import Outcome

from .solve_single import compared, solved

THREE = (
    "hardware.accelerators.0.count=64",
    "search.instances={range: {min: 1, max: 64, step: 1}}",
    "search.pp={choices: [1, 2, 4]}",
    'traffic.arrivals.rate="20 req/s"',
    "objectives=[{minimize: cost_per_hour}, {minimize: tpot, statistic: p95}, "
    "{minimize: ttft, statistic: p95}]",
)


def run(smoke: bool) -> Outcome:
    """Solve, then ask the others."""
    found = solved(*(THREE[:1] + THREE[4:] if smoke else THREE))
    return Outcome(compared(found, smoke), found.phases)
