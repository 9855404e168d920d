"""The search for a cluster: measure what the expressions propose, then close what the bounds leave open.

First every proposal that might help a packing is measured by simulation. Then, size by size, the rate is
known that a group of that size would have to carry to make the answer better by more than the tolerance:
every deployment of the size that the bounds leave open is simulated at that rate. One that carries it is a
new group and the answer grows; when none does, the size is closed. With all sizes closed the answer is
proven, and the proof covers the simulator.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from llmopt_optimizer.core.program import Assignment
from llmopt_optimizer.fleet.capacity import Group, carried, checked
from llmopt_optimizer.fleet.ceilings import ceilings
from llmopt_optimizer.fleet.lineup import Lineup, assignments_of
from llmopt_optimizer.fleet.proposals import Proposal, proposals
from llmopt_optimizer.fleet.stocks import Cluster, Kind
from llmopt_optimizer.result import Progress

HOPE = 1.15
"""A proposal is measured when it would help a packing if it carried so much more than expected."""
EPSILON = 1e-9
BATCH = 24
"""Deployments simulated at a time."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the search knows so far: a value, so that whoever stops it holds a consistent one."""

    cluster: Cluster
    simulated: int = 0
    """Deployments simulated to close sizes."""
    finished: bool = False
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What does not change while a cluster is searched."""

    lineups: tuple[Lineup, ...]
    """In the order of the cluster's kinds."""
    audit: int
    deadline: float
    tell: Callable[[Progress], None]
    publish: Callable[[Ledger], None]

    @property
    def over(self) -> bool:
        """Whether time has ended."""
        return time.monotonic() >= self.deadline


def searched(search: Search, cluster: Cluster) -> Ledger:
    """The last ledger of the search; every one on the way is published."""
    ledger = Ledger(cluster)
    for index in range(len(search.lineups)):
        ledger = _measured(search, ledger, index)
    for index in range(len(search.lineups)):
        ledger = _bounded(search, ledger, index)
    return _closed(search, ledger)


def _measured(search: Search, ledger: Ledger, index: int) -> Ledger:
    """The ledger with what the proposals of one type carry."""
    lineup = search.lineups[index]
    search.tell(Progress(f"proposing groups of {lineup.accelerator}", 0.05))
    listed = proposals(lineup, search.deadline)
    for number, proposal in enumerate(listed):
        if search.over:
            return replace(ledger, timed_out=True)
        told = f"{lineup.accelerator}: measuring group {number + 1} of {len(listed)}"
        search.tell(Progress(told, 0.1 + 0.4 * number / len(listed)))
        if _hopeful(ledger.cluster.kinds[index], proposal):
            ledger = _with_measured(search, ledger, index, proposal.assignment, proposal.rate_per_s)
    return ledger


def _hopeful(kind: Kind, proposal: Proposal) -> bool:
    return proposal.rate_per_s * HOPE > float(kind.carried.best[proposal.gpus])


def _with_measured(
    search: Search, ledger: Ledger, index: int, assignment: Assignment, guess_per_s: float
) -> Ledger:
    lineup = search.lineups[index]
    name = f"{lineup.accelerator} {len(ledger.cluster.kinds[index].groups) + 1}"
    group = carried(lineup, name, lineup.deployment(assignment), guess_per_s, search.deadline)
    return ledger if group is None else _grown(search, ledger, index, group)


def _grown(search: Search, ledger: Ledger, index: int, group: Group) -> Ledger:
    kinds = list(ledger.cluster.kinds)
    kinds[index] = kinds[index].with_group(group)
    grown = replace(ledger, cluster=replace(ledger.cluster, kinds=tuple(kinds)))
    search.publish(grown)
    return grown


def _bounded(search: Search, ledger: Ledger, index: int) -> Ledger:
    """The ledger with the rates that no group of a size can carry by the laws alone."""
    kind, lineup = ledger.cluster.kinds[index], search.lineups[index]
    if search.over:
        return replace(ledger, timed_out=True)
    search.tell(Progress(f"{lineup.accelerator}: bounding what any group can carry", 0.5))
    base = min((group.rate_per_s for group in kind.groups.values()), default=1e-3)
    known = ceilings(lineup, base, kind.largest_group, search.deadline)
    kinds = list(ledger.cluster.kinds)
    kinds[index] = replace(kind, ceilings=known)
    bounded = replace(ledger, cluster=replace(ledger.cluster, kinds=tuple(kinds)))
    search.publish(bounded)
    return bounded


def _closed(search: Search, ledger: Ledger) -> Ledger:
    """The ledger after closing sizes until all are closed, the limit of the audit, or the end of time."""
    while (place := _next_open(ledger.cluster)) is not None:
        if search.over or ledger.simulated >= search.audit:
            return replace(ledger, timed_out=search.over)
        index, gpus = place
        sizes = sum(kind.largest_group for kind in ledger.cluster.kinds)
        share = (gpus + sum(kind.largest_group for kind in ledger.cluster.kinds[:index])) / sizes
        told = f"closing groups of {gpus} {search.lineups[index].accelerator}"
        search.tell(Progress(told, 0.55 + 0.44 * share))
        ledger = _size_closed(search, ledger, index, gpus)
    return replace(ledger, finished=True)


def _next_open(cluster: Cluster) -> tuple[int, int] | None:
    """The first type and size that might still change the answer."""
    for index, kind in enumerate(cluster.kinds):
        thresholds = cluster.thresholds(index)
        for gpus in range(1, kind.largest_group + 1):
            if kind.ceilings.get(gpus, inf) > thresholds[gpus] * (1 + EPSILON):
                return index, gpus
    return None


def _size_closed(search: Search, ledger: Ledger, index: int, gpus: int) -> Ledger:
    """The ledger after simulating the open deployments of one size until one is better or none is left."""
    lineup = search.lineups[index]
    target = ledger.cluster.thresholds(index)[gpus] or _trickle(ledger.cluster.kinds[index])
    listed = assignments_of(lineup.openings_at(target), gpus)
    runs = lineup.simulations_at(target)
    for number, assignment in enumerate(listed):
        if search.over or ledger.simulated + number >= search.audit:
            return replace(ledger, simulated=ledger.simulated + number, timed_out=search.over)
        if number % BATCH == 0:  # one core each; what they show is kept
            runs.glimpse([lineup.deployment(each) for each in listed[number : number + BATCH]])
        if checked(runs, lineup.deployment(assignment)) is not None:
            found = _with_measured(search, ledger, index, assignment, target)
            return replace(found, simulated=ledger.simulated + number + 1)
    kinds = list(ledger.cluster.kinds)
    kinds[index] = kinds[index].lowered(gpus, target)
    cluster = replace(ledger.cluster, kinds=tuple(kinds))
    lowered = replace(ledger, cluster=cluster, simulated=ledger.simulated + len(listed))
    search.publish(lowered)
    return lowered


def _trickle(kind: Kind) -> float:
    """A rate at which a group counts as carrying something, where nothing is carried yet."""
    return min((group.rate_per_s for group in kind.groups.values()), default=1.0) * 1e-3
