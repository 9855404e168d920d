"""The waiting formulas against queueing theory: M/M/1 and M/G/1 exactly, M/M/c against Erlang's C."""

from __future__ import annotations

from math import exp, factorial, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import Float, Integer, Symbol, simplify

from llmopt_calibration.step import StepLaw, StepSymbols
from llmopt_calibration.step.law import Operator
from llmopt_optimizer.core.lowering import compile_expressions
from llmopt_optimizer.metrics.serving import serving
from llmopt_optimizer.metrics.waiting import (
    UTILISATION_CEILING,
    Queue,
    mean_wait_s,
    routed_queue,
    wait_quantile_s,
    waiting_probability,
)
from llmopt_optimizer.symbols import frozen_symbols, pool_symbols

loads = st.floats(1e-3, 0.99)
services = st.floats(1e-3, 1e3)
scvs = st.floats(0, 4)
servers = st.integers(1, 64)


def queue(count: int, arrival: float = 1, service: float = 1) -> Queue:
    return Queue(Integer(count), Float(arrival), Float(service))


def mean(load: float, service_s: float, waiting: Queue) -> float:
    return float(mean_wait_s(Float(load), Float(service_s), waiting))


def quantile(load: float, service_s: float, waiting: Queue, probability: float) -> float:
    wait_s = mean_wait_s(Float(load), Float(service_s), waiting)
    return float(wait_quantile_s(wait_s, Float(load), waiting, probability).doit())


def erlang_c(load: float, count: int) -> float:
    """Probability of waiting in M/M/c. Kleinrock, Queueing Systems I (1975), equation 3.40."""
    offered = load * count
    last = offered**count / factorial(count) / (1 - load)
    return last / (sum(offered**k / factorial(k) for k in range(count)) + last)


@given(loads, services)
def test_mm1_mean_is_exact(load: float, service_s: float) -> None:
    assert mean(load, service_s, queue(1)) == pytest.approx(load * service_s / (1 - load), rel=1e-12)


@given(loads, services, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_mm1_quantile_is_exact(load: float, service_s: float, probability: float) -> None:
    """P(W > t) = ρ exp(−(1 − ρ) t / s) is 1 − p at the quantile, or the wait is zero."""
    wait_s = quantile(load, service_s, queue(1), probability)
    if load <= 1 - probability:
        assert wait_s == 0
    else:
        tail = load * exp(-(1 - load) * wait_s / service_s)
        assert tail == pytest.approx(1 - probability, rel=1e-9)


@given(loads, services, scvs)
def test_mg1_mean_is_pollaczek_khinchine(load: float, service_s: float, scv: float) -> None:
    expected = load * service_s * (1 + scv) / 2 / (1 - load)
    assert mean(load, service_s, queue(1, service=scv)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [2, 3, 4, 8, 16, 32])
def test_mmc_is_close_to_erlang_c_where_waits_matter(count: int) -> None:
    """Within 10% where 2 of 5 arrivals wait, 6% where half do, and never off by 4% of a service time."""
    for load in map(float, np.linspace(0.3, 0.99, 70)):
        delayed = erlang_c(load, count)
        expected = delayed / count / (1 - load)
        found = mean(load, 1.0, queue(count))
        assert found == pytest.approx(expected, abs=0.04)
        if delayed >= 0.4:
            assert found == pytest.approx(expected, rel=0.06 if delayed >= 0.5 else 0.1)


@given(servers, scvs, scvs)
def test_no_load_no_wait(count: int, arrival: float, service: float) -> None:
    waiting = queue(count, arrival, service)
    assert mean(0.0, 1.0, waiting) <= 1e-11
    assert quantile(0.0, 1.0, waiting, 0.99) == 0
    assert mean(0.7, 1.0, queue(count, 0, 0)) == 0


@given(servers, scvs, scvs, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_waits_grow_with_load_and_probability(
    count: int, arrival: float, service: float, probability: float
) -> None:
    load = Symbol("load")
    waiting = queue(count, arrival, service)
    wait_s = mean_wait_s(load, Float(1), waiting)
    higher = 1 - (1 - probability) / 2
    quantiles = (wait_quantile_s(wait_s, load, waiting, p) for p in (probability, higher))
    at = np.linspace(0, 1.2, 241)
    means, lower, upper = compile_expressions([wait_s, *quantiles])({load: at}, at.shape)
    for values in (means, lower, upper):
        assert np.all(np.isfinite(values))
        assert np.all(np.diff(values) >= -1e-12 * values[1:])
        beyond = values[at >= UTILISATION_CEILING]
        assert np.all(beyond == beyond[0])
    assert np.all(upper >= lower)


@given(st.floats(0.01, 0.99), st.integers(1, 63))
def test_servers_share_the_burden(load: float, count: int) -> None:
    """At one utilisation more servers wait less, and never less than nothing."""
    fewer, more = (waiting_probability(Float(load), Integer(c)) for c in (count, count + 1))
    assert 0 < float(more) <= float(fewer) <= 1


def test_round_robin_thins_arrivals() -> None:
    """Every c-th arrival of a Poisson stream is Erlang-c: its variability is 1/c. Others share one queue."""
    arrival, service = Symbol("arrival"), Symbol("service")
    apart = routed_queue("round_robin", Integer(4), arrival, service)
    assert apart == Queue(Integer(1), arrival / 4, service)
    together = routed_queue("shortest_queue", Integer(4), arrival, service)
    assert together == Queue(Integer(4), arrival, service)


def test_quantile_of_a_known_queue() -> None:
    """M/M/1 at utilisation 0.9 and one second of service: p95 is 10 ln 18 seconds."""
    assert quantile(0.9, 1.0, queue(1), 0.95) == pytest.approx(10 * log(18), rel=1e-12)


def test_who_finds_an_engine_that_plans_ahead_waits_three_halves_of_a_step() -> None:
    """Instead of a half: the rest of the step in progress, and the step that is planned already."""
    zero, batch = Integer(0), Symbol("batch", positive=True)
    operator = Operator("step", "x", Integer(2), zero, zero, zero, "step", "default")
    law = StepLaw((operator,), StepSymbols())
    greedy, ahead = (
        serving(law, pool_symbols("serve"), frozen_symbols(), batch, plan_ahead=chosen).residual_s
        for chosen in (False, True)
    )
    assert simplify(ahead / greedy) == 3
