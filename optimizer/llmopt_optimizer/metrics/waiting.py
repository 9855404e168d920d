"""Waiting in front of `servers` equal servers, as expressions.

Sakasegawa's approximation of the G/G/c queue gives the mean wait; the probability of waiting that goes with
it gives an exponential tail and so every percentile. Both are exact for M/M/1. They propose; the simulator
decides.

Sources: H. Sakasegawa, "An approximation formula L_q ≈ α·ρ^β/(1−ρ)", Ann. Inst. Statist. Math. 29 (1977);
A. O. Allen, Probability, Statistics and Queueing Theory, 2nd ed. (1990), section 5.3 (Allen–Cunneen).
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer, log, sqrt

from llmopt_optimizer.core.algebra import larger, smaller, where_above
from llmopt_problems.deployment import RouterPolicy

UTILISATION_CEILING = 0.995
"""A queue is called stable up to this load; above it the expressions would divide by nearly nothing."""

CLOSED_LOOP_CEILING = 1 - 1e-9
"""The same where users wait for answers before they ask again: their number alone keeps a queue stable, so
that the wait may grow until it does."""

_IDLE = 1e-12
"""Stands for zero where a logarithm or a negative power of the load would be taken."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A G/G/c queue: what the wait depends on besides the load and the service time."""

    servers: Expr
    arrival_scv: Expr
    service_scv: Expr


def routed_queue(router: RouterPolicy, ranks: Expr, arrival_scv: Expr, service_scv: Expr) -> Queue:
    """The queue in front of `ranks` equal ranks behind a router.

    Policies that look at queues come close to one common queue. Round robin splits arrivals into one queue a
    rank; every `ranks`-th arrival of a renewal process has its variability divided by `ranks`. So does random
    routing; a renewal process of which each arrival is kept with probability 1 / `ranks` has 1 + (its
    variability − 1) / `ranks` (Whitt 1983, "The queueing network analyzer", equation 36).
    """
    if router == "random":
        return Queue(Integer(1), 1 + (arrival_scv - 1) / ranks, service_scv)
    if router == "round_robin":
        return Queue(Integer(1), arrival_scv / ranks, service_scv)
    return Queue(ranks, arrival_scv, service_scv)


def waiting_probability(load: Expr, servers: Expr) -> Expr:
    """Probability that an arrival waits, with `load` the utilisation of one server in [0, 1)."""
    return larger(load, _IDLE) ** (sqrt(2 * (servers + 1)) - 1)


def mean_wait_s(load: Expr, service_s: Expr, queue: Queue, ceiling: float = UTILISATION_CEILING) -> Expr:
    """Mean wait in seconds when one server takes `service_s` a request and is busy a share `load` of the
    time; at a load above `ceiling`, that of the ceiling.
    """
    busy = smaller(load, ceiling)
    delayed = waiting_probability(busy, queue.servers)
    variability = (queue.arrival_scv + queue.service_scv) / 2
    return service_s * delayed / (queue.servers * (1 - busy)) * variability


def wait_quantile_s(mean_s: Expr, load: Expr, queue: Queue, probability: float) -> Expr:
    """Wait that a fraction `probability` of arrivals does not exceed, from an exponential tail.

    Of the arrivals a fraction P waits, and those wait exponentially with mean `mean_s / P`; so the quantile
    is `mean_s / P · ln(P / (1 − probability))` where P exceeds `1 − probability`, and nothing below.
    """
    delayed = waiting_probability(smaller(load, UTILISATION_CEILING), queue.servers)
    tail = mean_s / delayed * log(delayed / (1 - probability))
    return where_above(delayed, 1 - probability, tail, 0)
