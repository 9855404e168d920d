"""Solving `mixed` and `sizing`: from a problem to a plan of groups that simulation has confirmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import inf, isfinite, nan
from pathlib import Path

from llmopt_optimizer.core.covering import Stock, total
from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.core.packing import replicated
from llmopt_optimizer.fleet.capacity import Group, observed
from llmopt_optimizer.fleet.clock import Timed
from llmopt_optimizer.fleet.lineup import Lineup, open_lineup
from llmopt_optimizer.fleet.plan import PlanResult, PlanRow
from llmopt_optimizer.fleet.search import Ledger, Search, searched
from llmopt_optimizer.fleet.stocks import Cluster, Kind
from llmopt_optimizer.loop.store import Store
from llmopt_optimizer.loop.workers import Workers, here
from llmopt_optimizer.result import Progress, Status
from llmopt_problems.schema import AcceleratorOffer, ClusterProblem

REQUESTS = "requests"
"""Name of the one class of requests that a cluster serves."""


def solve_cluster(
    problem: ClusterProblem,
    *,
    progress: Callable[[Progress], None] | None = None,
    caches: tuple[Path, ...] = (),
    workers: Workers | None = None,
) -> PlanResult:
    """The best plan of `problem` within its time limit, verified group by group.

    Simulations are read from the folders `caches` and stored there; `workers` run them, by default
    threads. Raises `ProblemError` for names that no catalog has.
    """
    started = time.monotonic()
    deadline = started + problem.limits.time_s
    store, ran = Store(caches), workers or here()

    def work(timed: Timed[_Found]) -> _Found:
        timed.tell(Progress("building expressions", 0.01))
        lineups = tuple(_lineup(problem, offer, store, ran, timed) for offer in problem.hardware.accelerators)
        keep = partial(_kept, timed, problem, lineups)
        search = Search(lineups, problem.verification.audit, deadline, timed.tell, keep)
        return _Found(problem, lineups, searched(search, _cluster(problem)))

    found = Timed(work, progress or (lambda _: None)).wait(problem.limits.time_s)
    if found is None:
        return _nothing(problem, time.monotonic() - started)
    return replace(_concluded(found), seconds=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Found:
    """A ledger with what it speaks of."""

    problem: ClusterProblem
    lineups: tuple[Lineup, ...]
    ledger: Ledger


def _kept(timed: Timed[_Found], problem: ClusterProblem, lineups: tuple[Lineup, ...], ledger: Ledger) -> None:
    timed.publish(_Found(problem, lineups, replace(ledger, timed_out=True)))


def _lineup(
    problem: ClusterProblem, offer: AcceleratorOffer, store: Store, workers: Workers, timed: Timed[_Found]
) -> Lineup:
    lineup = open_lineup(offer.name, partial(problem.group_problem, offer), store, workers)
    return replace(lineup, stopped=timed.stopped)


def _cluster(problem: ClusterProblem) -> Cluster:
    by_gpus = problem.minimize == "gpus"
    kinds = tuple(
        Kind(
            offer.name,
            offer.count,
            1.0 if by_gpus else offer.price_usd_per_h,
            min(offer.count, problem.group_gpus),
        )
        for offer in problem.hardware.accelerators
    )
    return Cluster(kinds, problem.traffic.rate_per_s, problem.verification.tolerance)


def _bare(problem: ClusterProblem) -> PlanResult:
    sizing = problem.kind == "sizing"
    aim = ("gpus" if problem.minimize == "gpus" else "usd_per_hour") if sizing else "requests_per_s"
    return PlanResult(
        problem_name=problem.name,
        kind=problem.kind,
        status=Status.FAILED,
        message="",
        objective=aim,
        sense="minimize" if sizing else "maximize",
    )


def _nothing(problem: ClusterProblem, seconds: float) -> PlanResult:
    message = "The time limit came before any group was measured: raise limits.time."
    return replace(_bare(problem), message=message, seconds=seconds)


def _concluded(found: _Found) -> PlanResult:
    """The result of a ledger."""
    cluster, ledger = found.ledger.cluster, found.ledger
    bare = replace(
        _bare(found.problem),
        measured_groups=sum(len(kind.groups) for kind in cluster.kinds),
        simulated=ledger.simulated,
    )
    best = cluster.best()
    if best is None or not best.load:
        return _refused(found, bare)
    rows = tuple(_rows(found, best))
    checks = tuple(_checks(cluster, best, rows))
    value = float(best.load if cluster.load_per_s is None else best.cost)
    bound = cluster.bound()
    answer = replace(
        bare,
        value=value,
        bound=bound,
        gap=_gap(value, bound),
        rows=rows,
        checks=checks,
        replicated=_replicated(cluster, best),
        facts=_facts(cluster, best, found.problem),
    )
    return _judged(found, answer)


def _judged(found: _Found, answer: PlanResult) -> PlanResult:
    tolerance = found.ledger.cluster.tolerance
    if not all(check.passed for check in answer.checks):
        return replace(answer, status=Status.FEASIBLE, message="A check of the plan failed.")
    if found.ledger.finished:
        message = (
            f"No other mixture can be more than {tolerance:.1%} better: of every size each deployment was "
            "simulated at the rate that it would have to carry, or is excluded by a bound that holds for the "
            "simulator."
        )
        return replace(answer, status=Status.PROVEN, message=message)
    return replace(answer, status=Status.FEASIBLE, message=_stopped(found))


def _stopped(found: _Found) -> str:
    if found.ledger.timed_out:
        return "The time limit ended the search: raise limits.time for a smaller gap."
    return "The limit of the audit ended the search: raise verification.audit for a smaller gap."


def _refused(found: _Found, bare: PlanResult) -> PlanResult:
    cluster = found.ledger.cluster
    most = float(cluster.stocks()[-1].load)
    if not found.ledger.finished:
        message = f"No plan was found: the verified groups carry {most:.3g} req/s at most. {_stopped(found)}"
        return replace(bare, message=message)
    offers = ", ".join(f"{kind.count} {kind.accelerator}" for kind in cluster.kinds)
    asked = "any requests" if cluster.load_per_s is None else f"{cluster.load_per_s:g} req/s"
    message = f"{offers} cannot serve {asked} within the service levels; at most {most:.3g} req/s."
    return replace(bare, status=Status.INFEASIBLE, message=message, conflicts=(f"load {asked}", offers))


def _rows(found: _Found, best: Stock) -> Iterator[PlanRow]:
    """The groups of the best stock, each simulated under its part of the load."""
    cluster = found.ledger.cluster
    share = 1.0 if cluster.load_per_s is None else cluster.load_per_s / float(best.load)
    prices = {offer.name: offer.price_usd_per_h for offer in found.problem.hardware.accelerators}
    for kind, lineup, units in zip(cluster.kinds, found.lineups, best.units, strict=True):
        for name, count in kind.carried.packing(units).items():
            yield _row(kind.groups[name], lineup, count, share, prices[kind.accelerator])


def _row(group: Group, lineup: Lineup, count: int, share: float, price: float) -> PlanRow:
    rate = group.rate_per_s * share
    seen = group.observation if share == 1.0 else observed(_unstopped(lineup), group.deployment, rate)
    return PlanRow(
        group=group.name,
        deployment=group.deployment,
        groups=count,
        carried_per_s={REQUESTS: group.rate_per_s},
        served_per_s={REQUESTS: rate},
        usd_per_hour=count * group.gpus * price,
        simulated={} if seen is None else seen.metrics,
        verified=seen is not None,
    )


def _unstopped(lineup: Lineup) -> Lineup:
    """The lineup for the few simulations of an answer, after the search was stopped."""
    return replace(lineup, stopped=None)


def _checks(cluster: Cluster, best: Stock, rows: tuple[PlanRow, ...]) -> Iterator[Check]:
    shapes = [shape for kind in cluster.kinds for shape in kind.shapes]
    carried = total({row.group: row.groups for row in rows}, shapes)
    yield Check("load in exact numbers", carried == best.load, f"{float(carried):.9g} req/s carried")
    used = {kind.accelerator: 0 for kind in cluster.kinds}
    for row in rows:
        used[row.deployment.pools[0].accelerator] += row.gpus
    fits = all(used[kind.accelerator] <= kind.count for kind in cluster.kinds)
    yield Check("stock in exact numbers", fits, ", ".join(f"{n} {name}" for name, n in used.items()))
    refused = [row.group for row in rows if not row.verified]
    detail = f"{len(rows)} groups keep every service level" if not refused else f"refused: {refused}"
    yield Check("groups verified by simulation", not refused, detail)


def _gap(value: float, bound: float) -> float:
    return abs(bound - value) / abs(value) if isfinite(bound) and value else nan


def _replicated(cluster: Cluster, best: Stock) -> float:
    """What the objective would be with one shape on every type."""
    if cluster.load_per_s is None:
        return sum(_alone(kind, kind.count) for kind in cluster.kinds if kind.groups)
    if len(cluster.kinds) > 1:
        return nan
    kind, load = cluster.kinds[0], cluster.load_per_s
    sizes = (units for units in range(best.units[0], kind.count + 1) if _alone(kind, units) >= load)
    return next((float(Fraction(kind.price) * units) for units in sizes), inf)


def _alone(kind: Kind, units: int) -> float:
    fitting = [shape for shape in kind.shapes if shape.uses[0] <= units]
    return replicated(fitting, (units,))[2] if fitting else 0.0


def _facts(cluster: Cluster, best: Stock, problem: ClusterProblem) -> dict[str, float]:
    prices = [offer.price_usd_per_h for offer in problem.hardware.accelerators]
    found = {f"gpus of {k.accelerator}": float(u) for k, u in zip(cluster.kinds, best.units, strict=True)}
    found["usd_per_hour"] = sum(price * units for price, units in zip(prices, best.units, strict=True))
    return found | {"requests_per_s": float(best.load), "gpus": float(sum(best.units))}
