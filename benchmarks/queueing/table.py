"""Running proofs: what theory says, what simulation says, and whether the interval holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llmopt_simulator import Interval, SimulationOptions, replicate
from queueing import systems
from queueing.systems import Proof

UTILISATIONS: Final = (0.3, 0.5, 0.7, 0.9, 0.95)
CUSTOMERS: Final = (1, 2, 4, 8, 16)

CONFIDENCE: Final = 0.99
REPLICATIONS: Final = 30
WARMUP: Final = 0.2

REQUESTS: Final = {0.3: 20_000, 0.5: 20_000, 0.7: 40_000, 0.9: 100_000, 0.95: 300_000}
"""Requests of a replication, by utilisation: queues forget their past ever more slowly, as 1/(1 − ρ)²."""

SYSTEMS: Final[tuple[Callable[[float, int], Proof], ...]] = (
    systems.mm1,
    systems.mm1_percentile,
    systems.mmc,
    systems.md1,
    systems.mg1,
    systems.mg1_ps,
    systems.loss,
    systems.tandem,
    systems.shared_link,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One proof, done."""

    proof: Proof
    requests: int
    interval: Interval

    @property
    def inside(self) -> bool:
        """Whether the interval holds the exact value."""
        return self.interval.low <= self.proof.exact <= self.interval.high


def proofs(utilisations: Sequence[float] = UTILISATIONS, share: float = 1.0) -> Iterator[tuple[Proof, int]]:
    """Every proof with its number of requests, `share` of the full one."""
    for system in SYSTEMS:
        for utilisation in utilisations:
            count = max(1, int(REQUESTS[utilisation] * share))
            yield system(utilisation, count), count
    for customers in CUSTOMERS:
        count = max(1, int(REQUESTS[0.5] * share))
        yield systems.closed_network(customers, count), count


def prove(proof: Proof, requests: int, replications: int = REPLICATIONS, seed: int = 1) -> Row:
    """Simulate a system until its interval stands beside the exact value."""
    evidence = replicate(
        proof.source,
        proof.deployment,
        proof.service,
        SimulationOptions(warmup_fraction=WARMUP),
        replications=replications,
        confidence=CONFIDENCE,
        seed=seed,
    )
    return Row(proof, requests, evidence.metrics[proof.metric])


HEADER: Final = (
    "| system | utilisation | exact | simulated | 99% interval | inside | requests |\n"
    "| --- | ---: | ---: | ---: | ---: | --- | ---: |"
)
"""The head of the table in Markdown."""


def markdown(row: Row) -> str:
    """A row of the table in Markdown."""
    proof, found = row.proof, row.interval
    cells = (
        proof.system,
        f"{proof.utilisation:.3g}",
        f"{proof.exact:.5g}",
        f"{found.value:.5g}",
        f"{found.low:.5g} … {found.high:.5g}",
        "yes" if row.inside else "**no**",
        f"{REPLICATIONS} × {row.requests:,}",
    )
    return f"| {' | '.join(cells)} |"
