"""Closed forms of queueing theory, each with its source.

λ is the arrival rate, μ the service rate of one server, ρ the utilisation of a server. References are to
Kleinrock, "Queueing Systems", volume 1 (1975), where no other is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """First and second moment of a service time."""

    mean_s: float
    second_s2: float

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        return self.second_s2 / self.mean_s**2 - 1.0

    def scaled(self, seconds: float) -> Service:
        """The moments when every unit takes that many seconds."""
        return Service(self.mean_s * seconds, self.second_s2 * seconds**2)


def geometric(mean: float) -> Service:
    """Of ⌈X⌉, X exponential with `mean`: a geometric number of tokens, P(⌈X⌉ > n) = e^(−n/mean)."""
    p = 1.0 - math.exp(-1.0 / mean)
    return Service(1.0 / p, (2.0 - p) / p**2)


def mixture(parts: Sequence[Service], weights: Sequence[float]) -> Service:
    """Of a service that is drawn from one of several parts."""
    return Service(
        sum(w * part.mean_s for w, part in zip(weights, parts, strict=True)),
        sum(w * part.second_s2 for w, part in zip(weights, parts, strict=True)),
    )


def pollaczek_khinchine_wait(rate: float, service: Service) -> float:
    """Mean wait of M/G/1, λ E[S²] / (2 (1 − ρ)) (equation 5.113); M/M/1 and M/D/1 are cases of it."""
    return rate * service.second_s2 / (2.0 * (1.0 - rate * service.mean_s))


def mm1_sojourn_percentile(rate: float, mean_s: float, share: float) -> float:
    """Percentile of the time in M/M/1, exponential with rate μ − λ (equation 5.118)."""
    return -math.log1p(-share) / (1.0 / mean_s - rate)


def erlang_b(servers: int, load: float) -> float:
    """Share of arrivals that find all servers of M/G/c/c busy, at offered load a = λ/μ (equation 3.45)."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Share of arrivals that wait in M/M/c at offered load a = λ/μ (equation 3.40, by Erlang B)."""
    blocked = erlang_b(servers, load)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def mmc_wait(servers: int, rate: float, mean_s: float) -> float:
    """Mean wait of M/M/c: C(c, a) / (c μ − λ)."""
    return erlang_c(servers, rate * mean_s) / (servers / mean_s - rate)


def processor_sharing_sojourn(rate: float, mean_s: float) -> float:
    """Mean time in M/G/1-PS, E[S] / (1 − ρ) whatever the distribution (volume 2, equation 4.17)."""
    return mean_s / (1.0 - rate * mean_s)


def mean_value_analysis(demands_s: Sequence[float], delay_s: float, customers: int) -> float:
    """Throughput of a closed network of exponential FCFS stations and a pure delay.

    Reiser and Lavenberg 1980, "Mean-value analysis of closed multichain queuing networks", J. ACM 27(2): an
    arrival sees the network with one customer less.
    """
    queues, rate = [0.0] * len(demands_s), 0.0
    for present in range(1, customers + 1):
        stays = [demand * (1.0 + queue) for demand, queue in zip(demands_s, queues, strict=True)]
        rate = present / (delay_s + sum(stays))
        queues = [rate * stay for stay in stays]
    return rate
