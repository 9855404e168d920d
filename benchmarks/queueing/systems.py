"""Textbook systems realised as deployments, so that theory can judge the simulator.

*A server* is an instance with a batch of one whose prefill of p tokens takes c·p seconds, with one output
token: its service time is c times the input length. A central queue before k of them is one queue with k
servers.
*Processor sharing* is a large batch whose step takes c seconds a sequence: each of b sequences gets one
token in b·c seconds, a b-th of the machine. *Stations in series* are a prefill server, the latency of the
KV transfer, and a decode server (a batch of one, a constant step). *A shared link* is a KV transfer behind
so many prefill servers that none queues: their departures are Poisson with independent sizes (Mirasol 1963).

Lengths are whole tokens, so "exponential" is geometric here; closed forms use the exact moments, and what
is left is below the width of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from llmopt_calibration.compiled import compile_step
from llmopt_calibration.step.law import Operator, StepLaw
from llmopt_calibration.step.symbols import StepSymbols
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment, Scheduling
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import KvTransfer, PoolService, ServiceModel, WorkloadSource, step_bounds
from queueing import formulas as theory

Tokens = NDArray[np.int64]
Draw = Callable[[np.random.Generator, int], Tokens]

TOKENS = 1000
"""Mean tokens of a service where they cost nothing to simulate."""

FEW_TOKENS = 200
"""Mean tokens of a service that takes a step each."""

FEWER_TOKENS = 50
"""The same where the closed form takes the exact moments, however few."""

ENDLESS = 1 << 40
"""A KV cache that nothing fills."""


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """A system, one of its metrics, and the value that theory gives it."""

    system: str
    utilisation: float
    """Of the busiest server."""
    metric: str
    exact: float
    deployment: Deployment
    service: ServiceModel
    source: WorkloadSource
    """Draws the traffic of a replication."""


def mm1(utilisation: float, count: int) -> Proof:
    """Mean wait with exponential services."""
    return _queue("M/M/1 mean wait", utilisation, count, _exponential, theory.geometric(TOKENS))


def mm1_percentile(utilisation: float, count: int) -> Proof:
    """95th percentile of the time in the system with exponential services."""
    proof = _queue("M/M/1 p95 sojourn", utilisation, count, _exponential, theory.geometric(TOKENS))
    mean_s = theory.geometric(TOKENS).mean_s / TOKENS
    exact = theory.mm1_sojourn_percentile(utilisation / mean_s, mean_s, 0.95)
    return replaced(proof, "e2e_p95_s", exact)


def md1(utilisation: float, count: int) -> Proof:
    """Mean wait with constant services."""
    return _queue("M/D/1 mean wait", utilisation, count, _constant, theory.Service(TOKENS, TOKENS**2))


def mg1(utilisation: float, count: int) -> Proof:
    """Mean wait with hyperexponential services, squared variation 3."""
    return _queue("M/G/1 mean wait", utilisation, count, _hyperexponential, _hyper_moments(TOKENS))


def mmc(utilisation: float, count: int, servers: int = 4) -> Proof:
    """Mean wait before several servers."""
    name = f"M/M/{servers} mean wait"
    proof = _queue(name, utilisation, count, _exponential, theory.geometric(TOKENS), servers)
    mean_s = theory.geometric(TOKENS).mean_s / TOKENS
    return replaced(proof, proof.metric, theory.mmc_wait(servers, utilisation * servers / mean_s, mean_s))


def loss(utilisation: float, count: int, servers: int = 4) -> Proof:
    """Share of requests turned away where nobody may wait, with hyperexponential services (Erlang B)."""
    name = f"M/G/{servers}/{servers} share turned away"
    proof = _queue(name, utilisation, count, _hyperexponential, _hyper_moments(TOKENS), servers)
    (pool,) = proof.deployment.pools
    pool = replace(pool, scheduling=Scheduling(queue_limit=0))
    exact = theory.erlang_b(servers, utilisation * servers)
    return replace(
        proof, metric="rejected_share", exact=exact, deployment=replace(proof.deployment, pools=(pool,))
    )


def mg1_ps(utilisation: float, count: int) -> Proof:
    """Mean time in processor sharing with hyperexponential services."""
    pool = PoolDeployment("serve", "x", Layout(), 1, 4096, 4096)
    mean_s = _hyper_moments(FEW_TOKENS).mean_s / FEW_TOKENS
    rate = utilisation / mean_s
    return Proof(
        "M/G/1-PS mean sojourn",
        utilisation,
        "e2e_mean_s",
        theory.processor_sharing_sojourn(rate, mean_s),
        Deployment("aggregated", (pool,), prefix_cache=False),
        ServiceModel((_service(pool, per_token_s=1.0 / FEW_TOKENS),)),
        partial(_traffic, rate, count, _ones, partial(_hyperexponential, mean=FEW_TOKENS)),
    )


def tandem(utilisation: float, count: int) -> Proof:
    """Mean time through prefill server, transfer latency and decode server (Burke 1956: Poisson between)."""
    front = theory.geometric(TOKENS).scaled(1 / TOKENS)
    back = theory.geometric(FEWER_TOKENS).scaled(1 / FEWER_TOKENS)
    rate = utilisation / max(front.mean_s, back.mean_s)
    exact = 0.5 + sum(theory.pollaczek_khinchine_wait(rate, s) + s.mean_s for s in (front, back))
    deployment, service = _stations(0.5, FEWER_TOKENS)
    lengths = _exponential, partial(_decode_lengths, mean=FEWER_TOKENS)
    source = partial(_traffic, rate, count, *lengths)
    return Proof("tandem M/M/1s mean sojourn", utilisation, "e2e_mean_s", exact, deployment, service, source)


def shared_link(utilisation: float, count: int) -> Proof:
    """Mean time through a KV link that concurrent transfers share: prefill, latency, M/G/1-PS."""
    front = PoolDeployment("prefill", "x", Layout(), 16, 1 << 15, 1)
    back = PoolDeployment("decode", "x", Layout(), 1, 1, 1)
    mean = _hyper_moments(TOKENS).mean_s
    transfer = KvTransfer(0.25, 1.0, 1e15, mean / utilisation)
    services = _service(front, per_token_s=1.0 / TOKENS), _service(back, step_s=1.0)
    exact = mean / TOKENS + 0.25 + theory.processor_sharing_sojourn(1.0, utilisation)
    return Proof(
        "KV link (M/G/1-PS) mean sojourn",
        utilisation,
        "e2e_mean_s",
        exact,
        Deployment("disaggregated", (front, back), "central_queue", prefix_cache=False),
        ServiceModel(services, transfer),
        partial(_traffic, 1.0, count, _hyperexponential, _ones),
    )


def closed_network(customers: int, count: int) -> Proof:
    """Throughput of users who go round prefill server, transfer latency and decode server without pause."""
    demands = theory.geometric(TOKENS).mean_s / TOKENS, theory.geometric(FEW_TOKENS).mean_s / FEW_TOKENS
    exact = theory.mean_value_analysis(demands, 2.0, customers)
    deployment, service = _stations(2.0, FEW_TOKENS)
    lengths = _exponential, partial(_decode_lengths, mean=FEW_TOKENS)
    source = partial(_closed_traffic, customers, count, *lengths)
    name = f"closed network, {customers} users, throughput"
    utilisation = exact * max(demands)
    return Proof(name, utilisation, "throughput_requests_per_s", exact, deployment, service, source)


def replaced(proof: Proof, metric: str, exact: float) -> Proof:
    """The same system judged by another metric, or by another value."""
    return replace(proof, metric=metric, exact=exact)


def _queue(
    system: str, utilisation: float, count: int, draw: Draw, tokens: theory.Service, servers: int = 1
) -> Proof:
    pool = PoolDeployment("serve", "x", Layout(), servers, 1 << 15, 1)
    service = tokens.scaled(1.0 / TOKENS)
    rate = utilisation * servers / service.mean_s
    return Proof(
        system,
        utilisation,
        "queueing_mean_s",
        theory.pollaczek_khinchine_wait(rate / servers, service),
        Deployment("aggregated", (pool,), "central_queue", prefix_cache=False),
        ServiceModel((_service(pool, per_token_s=1.0 / TOKENS),)),
        partial(_traffic, rate, count, draw, _ones),
    )


def _stations(latency_s: float, decode_tokens: int) -> tuple[Deployment, ServiceModel]:
    front = PoolDeployment("prefill", "x", Layout(), 1, 1 << 15, 1)
    back = PoolDeployment("decode", "x", Layout(), 1, 1, 1)
    services = _service(front, per_token_s=1.0 / TOKENS), _service(back, step_s=1.0 / decode_tokens)
    transfer = KvTransfer(latency_s, 1e-6, 1e9, 1e9)  # bytes that take no time worth counting
    return Deployment("disaggregated", (front, back), "central_queue", False), ServiceModel(
        services, transfer
    )


def _service(pool: PoolDeployment, step_s: float = 0.0, per_token_s: float = 0.0) -> PoolService:
    symbols, zero = StepSymbols(), sp.S.Zero
    token_s = sp.Float(per_token_s) * (symbols.b + symbols.p)
    operators = (
        Operator("step", "x", sp.Float(step_s), zero, zero, zero, "step", "default"),
        Operator("tokens", "x", token_s, zero, zero, zero, "rank_tokens", "default"),
    )
    bounds = step_bounds(pool)
    law = StepLaw(operators, symbols)
    step = compile_step(law, bounds.rank_tokens, bounds.engine_tokens, bounds.batch)
    return PoolService(step, ENDLESS, 1, 1.0, 1.0, 1.0)


def _traffic(rate: float, count: int, inputs: Draw, outputs: Draw, seed: int) -> Workload:
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1.0 / rate, count))
    return Workload(_requests(arrival_s, inputs(rng, count), outputs(rng, count)))


def _closed_traffic(users: int, count: int, inputs: Draw, outputs: Draw, seed: int) -> Workload:
    rng = np.random.default_rng(seed)
    return Workload(_requests(np.zeros(count), inputs(rng, count), outputs(rng, count)), users)


def _requests(arrival_s: NDArray[np.float64], inputs: Tokens, outputs: Tokens) -> Requests:
    offsets = np.zeros(len(arrival_s) + 1, np.int64)
    return Requests(arrival_s, inputs, outputs, offsets, np.zeros(0, np.int64), 1)


def _ones(rng: np.random.Generator, count: int) -> Tokens:
    return np.ones(count, np.int64)


def _constant(rng: np.random.Generator, count: int) -> Tokens:
    return np.full(count, TOKENS)


def _exponential(rng: np.random.Generator, count: int, mean: float = TOKENS) -> Tokens:
    return np.ceil(rng.exponential(mean, count)).astype(np.int64)


def _decode_lengths(rng: np.random.Generator, count: int, mean: float) -> Tokens:
    """The first token comes from prefill, the others are the decode server's service."""
    return 1 + _exponential(rng, count, mean)


def _hyperexponential(rng: np.random.Generator, count: int, mean: float = TOKENS) -> Tokens:
    """Four in five are short (half the mean), one in five is long (three means): squared variation 3."""
    short = rng.random(count) < 0.8
    return np.ceil(rng.exponential(1.0, count) * np.where(short, 0.5, 3.0) * mean).astype(np.int64)


def _hyper_moments(mean: float) -> theory.Service:
    parts = theory.geometric(0.5 * mean), theory.geometric(3.0 * mean)
    return theory.mixture(parts, (0.8, 0.2))
