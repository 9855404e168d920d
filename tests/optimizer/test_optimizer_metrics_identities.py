"""What must hold between metrics whatever the numbers: Little's law, money, energy, memory, utilisation."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from optimizer_loop_cases import Formulas, Rows, formulas, random_rows

from llmopt_optimizer.core.columns import decode
from llmopt_optimizer.core.program import Assignment
from llmopt_optimizer.formulation.deployments import deployment_of
from llmopt_optimizer.loop.service import pool_memory
from llmopt_optimizer.symbols import frozen_symbols, spread_symbol
from llmopt_problems.deployment import Deployment
from llmopt_problems.metrics_catalog import STATISTICS

F = frozen_symbols()
LATENCIES = ("ttft", "tpot", "itl", "e2e", "queueing")


def drawn(kind: str, seed: int = 3, draws: int = 24, most: int = 8) -> list[Rows]:
    return list(islice(random_rows(formulas(kind), np.random.default_rng(seed), most), draws))


def attribute(rows: Rows, name: str) -> Any:
    """A pool attribute such as `serve.step_s`, one number a row."""
    return next(v for c in rows.columns for symbol, v in c.attributes.items() if symbol.name == name)


def decision(rows: Rows, name: str) -> Any:
    """A decision such as `serve_tp`, one number a row."""
    for columns in rows.columns:
        rowed = zip(columns.variant, columns.code, strict=True)
        chosen = [dict(decode(columns.pool.variants[v], int(code))) for v, code in rowed]
        if name in chosen[0]:
            return np.array([choice[name] for choice in chosen], dtype=float)
    raise KeyError(name)


def ranks(rows: Rows, role: str) -> Any:
    return np.prod([decision(rows, f"{role}_{name}") for name in ("instances", "pp", "dp")], axis=0)


def plain(rows: Rows, metric: str, statistic: str) -> Any:
    """A latency without its frozen spread."""
    spread = rows.parameters[spread_symbol(rows.system.name, metric, statistic)]
    return rows.metrics[f"{metric}_{statistic}_s"] / spread


def deployments(made: Formulas, rows: Rows) -> list[Deployment]:
    assignments = (
        Assignment(rows.system.name, tuple(columns.choice(row) for columns in rows.columns))
        for row in range(len(rows))
    )
    return [deployment_of(assignment, "shortest_queue", prefix_cache=False) for assignment in assignments]


SLOW = pytest.mark.slow
KIND_PARAMETERS = [
    "dense_open",
    "dense_closed",
    pytest.param("moe_open", marks=SLOW),
    pytest.param("moe_closed", marks=SLOW),
]


@pytest.fixture(scope="module", params=KIND_PARAMETERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tables(kind: str) -> list[Rows]:
    return drawn(kind)


def decode_role(rows: Rows) -> str:
    return "serve" if rows.system.name == "aggregated" else "decode"


def test_decode_batches_keep_littles_law(tables: list[Rows]) -> None:
    """Sequences that decode = request rate x decode steps x mean step time."""
    for rows in tables:
        role = decode_role(rows)
        batch, step_s = attribute(rows, f"{role}.decode_batch"), attribute(rows, f"{role}.step_s")
        rate = rows.metrics["throughput_requests_per_s"] / ranks(rows, role)
        np.testing.assert_allclose(batch, rate * rows.parameters[F.decode_tokens] * step_s, rtol=1e-9)


@pytest.mark.parametrize("model", ["dense", pytest.param("moe", marks=SLOW)])
def test_closed_loops_keep_littles_law(model: str) -> None:
    """Users = request rate x the time that a request spends, waiting and thinking before it included."""
    for rows in drawn(f"{model}_closed"):
        decode_s = rows.parameters[F.decode_tokens] * plain(rows, "tpot", "mean")
        cycle_s = rows.parameters[F.think_s] + plain(rows, "ttft", "mean") + decode_s
        users = rows.metrics["throughput_requests_per_s"] * cycle_s
        np.testing.assert_allclose(users, rows.parameters[F.concurrency], rtol=1e-6)


def test_tokens_money_and_energy(tables: list[Rows]) -> None:
    for rows in tables:
        metrics = rows.metrics
        tokens_per_s = metrics["throughput_requests_per_s"] * (rows.parameters[F.decode_tokens] + 1)
        np.testing.assert_allclose(metrics["throughput_tokens_per_s"], tokens_per_s, rtol=1e-12)
        np.testing.assert_allclose(metrics["cost_per_hour"], 2 * metrics["gpus"], rtol=1e-12)
        per_million = metrics["cost_per_hour"] / (tokens_per_s * 3600) * 1e6
        np.testing.assert_allclose(metrics["cost_per_million_output_tokens"], per_million, rtol=1e-12)
        energy = metrics["energy_per_output_token_j"] * tokens_per_s
        np.testing.assert_allclose(energy, metrics["power_w"], rtol=1e-12)
        assert np.all(metrics["goodput_requests_per_s"] > 0)


def test_no_pool_prefills_more_than_it_can(tables: list[Rows]) -> None:
    """Request rate x chunks of a prompt x seconds of a chunk never exceeds the ranks' time."""
    for rows in tables:
        name = "serve.prefill_load" if rows.system.name == "aggregated" else "prefill.load"
        assert np.all(attribute(rows, name) <= 1 + 1e-9)


def test_gpus_are_those_of_the_deployment(kind: str, tables: list[Rows]) -> None:
    for rows in tables:
        gpus = [deployment.gpus for deployment in deployments(formulas(kind), rows)]
        np.testing.assert_array_equal(rows.metrics["gpus"], gpus)


def test_utilisation_and_power_stay_within_the_accelerator(kind: str, tables: list[Rows]) -> None:
    accelerator = formulas(kind).scenario.sites[0].accelerator
    for rows in tables:
        for part in ("compute", "bandwidth", "network"):
            used = rows.metrics[f"{part}_utilization"]
            assert np.all((used >= 0) & (used <= 1)), (part, used)
        watts = rows.metrics["power_w"] / rows.metrics["gpus"]
        assert np.all((watts >= accelerator.idle_watts) & (watts <= accelerator.peak_watts))


def test_latency_statistics_are_ordered(tables: list[Rows]) -> None:
    """Without spreads a higher percentile is never smaller, and E2E = TTFT + decode steps x TPOT."""
    percentiles = [statistic for statistic in STATISTICS if statistic != "mean"]
    for rows in tables:
        for metric in LATENCIES:
            values = np.array([plain(rows, metric, statistic) for statistic in percentiles])
            assert np.all(np.isfinite(values))
            assert np.all(values >= 0)
            assert np.all(np.diff(values, axis=0) >= -1e-9 * values[1:]), metric
        decode_s = rows.parameters[F.decode_tokens] * plain(rows, "tpot", "mean")
        np.testing.assert_allclose(
            plain(rows, "e2e", "mean"), plain(rows, "ttft", "mean") + decode_s, rtol=1e-9
        )
        assert np.all(plain(rows, "ttft", "mean") >= plain(rows, "queueing", "mean"))


def test_peak_memory_is_the_sum_of_its_breakdown(kind: str, tables: list[Rows]) -> None:
    """Weights, activations, reserve, states and the KV of a full batch, from the simulator's own terms."""
    made = formulas(kind)
    hbm_bytes = made.scenario.sites[0].accelerator.hbm_bytes
    for rows in tables:
        reserved = rows.parameters[F.reserved_tokens]
        peaks, fractions = rows.metrics["peak_memory_bytes"], rows.metrics["memory_fraction"]
        for deployment, peak, fraction in zip(deployments(made, rows), peaks, fractions, strict=True):
            sums = []
            for pool in deployment.pools:
                terms = pool_memory(made.scenario, pool)
                kv = min(pool.batch_cap * reserved, terms.kv_capacity_tokens + 1)
                held = rows.parameters[F.input_tokens] if pool.role == "prefill" else kv
                fixed = terms.weights + terms.activations + terms.reserve + terms.states
                sums.append(fixed + held * terms.kv_bytes_per_token)
            assert peak == pytest.approx(max(sums), rel=1e-5)
            assert fraction == pytest.approx(peak / hbm_bytes, rel=1e-12)
            assert fraction <= 0.9 * (1 + 1e-9)
