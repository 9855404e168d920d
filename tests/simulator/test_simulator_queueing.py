"""Simulated queues against the closed forms of queueing theory (`benchmarks/queueing`)."""

from __future__ import annotations

import itertools
import math

import pytest
from queueing import formulas as theory
from queueing import systems
from queueing.table import CUSTOMERS, REQUESTS, SYSTEMS, UTILISATIONS, markdown, prove


def assert_proved(row, widest: float) -> None:
    """The interval holds the exact value and is narrow enough to mean something."""
    interval, exact = row.interval, row.proof.exact
    assert interval.low <= exact <= interval.high, markdown(row)
    assert interval.high - interval.low < widest * exact


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.__name__)
@pytest.mark.parametrize("utilisation", [0.5, 0.9])
def test_systems(system, utilisation: float) -> None:
    count = {0.5: 4000, 0.9: 10_000}[utilisation]
    assert_proved(prove(system(utilisation, count), count), 0.45)


@pytest.mark.parametrize("customers", [2, 8])
def test_closed_network(customers: int) -> None:
    assert_proved(prove(systems.closed_network(customers, 2000), 2000), 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.__name__)
@pytest.mark.parametrize("utilisation", UTILISATIONS)
def test_systems_in_full(system, utilisation: float) -> None:
    count = REQUESTS[utilisation]
    assert_proved(prove(system(utilisation, count), count), 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("customers", CUSTOMERS)
def test_closed_network_in_full(customers: int) -> None:
    assert_proved(prove(systems.closed_network(customers, 20_000), 20_000), 0.01)


def test_intervals_can_miss() -> None:
    """A proof that is wrong by 15% fails: M/D/1 judged by the form of M/M/1."""
    proof = systems.md1(0.5, 4000)
    wrong = systems.mm1(0.5, 4000)
    row = prove(systems.replaced(proof, proof.metric, wrong.exact), 4000)
    assert not row.inside
    assert "**no**" in markdown(row)


def test_closed_forms_agree_where_they_meet() -> None:
    assert theory.mmc_wait(1, 0.7, 1.0) == pytest.approx(0.7 / 0.3)
    assert theory.erlang_c(1, 0.6) == pytest.approx(0.6)
    assert theory.erlang_b(2, 1.0) == pytest.approx(1 / 5)
    assert theory.mm1_sojourn_percentile(0.5, 1.0, 0.5) == pytest.approx(2.0 * math.log(2.0))
    assert theory.pollaczek_khinchine_wait(0.5, theory.Service(1.0, 2.0)) == pytest.approx(1.0)
    assert theory.mean_value_analysis([2.0], 3.0, 1) == pytest.approx(1 / 5)


@pytest.mark.parametrize("customers", [1, 3, 6])
def test_mean_value_analysis_is_the_product_form(customers: int) -> None:
    """Throughput from the normalisation constants, G(n − 1) / G(n), by summing over all states."""
    demands, delay = (0.7, 1.3), 2.0

    def constant(n: int) -> float:
        states = itertools.product(range(n + 1), repeat=2)
        return sum(
            demands[0] ** i * demands[1] ** j * delay ** (n - i - j) / math.factorial(n - i - j)
            for i, j in states
            if i + j <= n
        )

    expected = constant(customers - 1) / constant(customers)
    assert theory.mean_value_analysis(demands, delay, customers) == pytest.approx(expected, rel=1e-12)
