"""Which deployments exist, and how their metrics move with decisions and traffic."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_loop_cases import Formulas, formulas, random_parameters
from sympy import Symbol

from llmopt_calibration.step.rules import layout_violations
from llmopt_optimizer.core.columns import Columns, decode
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.loop.service import pool_memory
from llmopt_optimizer.symbols import frozen_symbols
from llmopt_problems.deployment import Layout, PoolDeployment

F = frozen_symbols()
FEW = settings(max_examples=25, deadline=None)
LARGEST_REQUEST_TOKENS = 1100
AVAILABLE = 64


def table(made: Formulas, system: str, pool: str, parameters: Mapping[Symbol, float]) -> Columns:
    return made.predictor.pools[system, pool].tabulate(parameters)


def keys(columns: Columns) -> list[tuple[int, ...]]:
    """The decisions of every row, in the order of the variant."""
    variant = columns.pool.variants[0]
    return [tuple(int(value) for _, value in decode(variant, int(code))) for code in columns.code]


@cache
def fits(kind: str, layout: Layout, chunk_tokens: int, batch_cap: int) -> bool:
    pool = PoolDeployment("serve", "H100-SXM", layout, 1, chunk_tokens, batch_cap)
    try:
        return pool_memory(formulas(kind).scenario, pool).kv_capacity_tokens >= LARGEST_REQUEST_TOKENS
    except DeploymentError:
        return False


@pytest.mark.parametrize("kind", ["dense_open", "moe_open"])
def test_tabulated_deployments_are_exactly_the_valid_ones(kind: str) -> None:
    """Brute force over the domains: the engine's rules, the stock, the memory and the token budget decide."""
    made = formulas(kind)
    trickle = {**made.parameters, F.request_rate_per_s: 1e-6}
    columns = table(made, "aggregated", "serve", trickle)
    domains = [decision.values for decision in columns.pool.variants[0].decisions]
    names = [decision.symbol.name.removeprefix("serve_") for decision in columns.pool.variants[0].decisions]
    assert names == ["tp", "pp", "ep", "dp", "instances", "chunk_tokens", "batch_cap"]
    expected = set()
    for tp, pp, ep, dp, instances, chunk, cap in product(*domains):
        layout = Layout(tp, pp, ep, dp)
        broken = layout_violations(made.scenario.model, layout, made.scenario.precision.weights)
        if not broken and instances * tp * pp <= AVAILABLE and chunk > cap and fits(kind, layout, chunk, cap):
            expected.add((tp, pp, ep, dp, instances, chunk, cap))
    found = keys(columns)
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert 100 < len(expected) < np.prod([len(domain) for domain in domains])


def test_two_pools_share_one_stock() -> None:
    (constraint,) = formulas("dense_open").program.system("disaggregated").constraints
    prefill, decode_pool = sorted(constraint.expression.free_symbols, key=str, reverse=True)
    for gpus in ((32, 32), (40, 25)):
        excess = constraint.expression.subs({prefill: gpus[0], decode_pool: gpus[1]})
        assert excess == sum(gpus) - AVAILABLE


def by_rest(columns: Columns, values: Any, position: int) -> list[Any]:
    """`values` of rows that differ only in the decision at `position`, in its increasing order."""
    groups: dict[tuple[int, ...], list[tuple[int, float]]] = {}
    for key, value in zip(keys(columns), values, strict=True):
        rest = key[:position] + key[position + 1 :]
        groups.setdefault(rest, []).append((key[position], float(value)))
    return [np.array([value for _, value in sorted(group)]) for group in groups.values() if len(group) > 1]


def attribute(columns: Columns, name: str) -> Any:
    return next(v for symbol, v in columns.attributes.items() if symbol.name == name)


@FEW
@given(st.integers(0, 10**6), st.sampled_from(["dense_open", "moe_open"]))
def test_more_instances_never_slow_anything(seed: int, kind: str) -> None:
    """At the same other decisions, another instance lowers mean TTFT, step time and every wait, or keeps."""
    made = formulas(kind)
    parameters = random_parameters(made, np.random.default_rng(seed))
    shown = {
        ("aggregated", "serve"): ("ttft_mean_s", "step_s", "queueing_mean_s", "queueing_p95_s"),
        ("disaggregated", "prefill"): ("ttft_mean_s", "queueing_mean_s", "ttft_p95_s"),
        ("disaggregated", "decode"): ("step_s", "decode_batch", "place_wait_mean_s"),
    }
    for (system, pool), names in shown.items():
        columns = table(made, system, pool, parameters)
        for name in names:
            for values in by_rest(columns, attribute(columns, f"{pool}.{name}"), position=4):
                assert np.all(np.diff(values) <= 1e-9 * values[:-1] + 1e-15), (pool, name, values)


@FEW
@given(st.integers(0, 10**6), st.floats(1.01, 3), st.sampled_from(["dense_open", "moe_open"]))
def test_a_higher_rate_never_empties_a_batch(seed: int, factor: float, kind: str) -> None:
    """Batches and loads grow with the rate, and no deployment becomes feasible by it."""
    made = formulas(kind)
    low = random_parameters(made, np.random.default_rng(seed))
    high = {**low, F.request_rate_per_s: low[F.request_rate_per_s] * factor}
    for system, pool, names in (
        ("aggregated", "serve", ("decode_batch", "prefill_load", "step_s")),
        ("disaggregated", "prefill", ("load", "queueing_mean_s", "queueing_p99_s")),
        ("disaggregated", "decode", ("decode_batch", "step_s")),
    ):
        before, after = (table(made, system, pool, parameters) for parameters in (low, high))
        assert set(after.code) <= set(before.code)
        kept = np.flatnonzero(np.isin(before.code, after.code))
        assert np.array_equal(before.code[kept], after.code)
        for name in names:
            lower, upper = attribute(before.take(kept), f"{pool}.{name}"), attribute(after, f"{pool}.{name}")
            assert np.all(upper >= lower * (1 - 1e-9) - 1e-15), (pool, name)


@pytest.mark.parametrize("kind", ["dense_open", "dense_closed"])
def test_requests_without_decoding_are_prefilled(kind: str) -> None:
    """Answers of one token leave no decode step: TTFT is then nearly all, and loads are those of prefill."""
    made = formulas(kind)
    parameters = {**made.parameters, F.decode_tokens: 1e-6, F.request_rate_per_s: 2.0}
    columns = table(made, "aggregated", "serve", parameters)
    assert len(columns) > 100
    ranks = np.array([key[1] * key[3] * key[4] for key in keys(columns)])
    prefill_s = attribute(columns, "serve.ttft_mean_s") - attribute(columns, "serve.queueing_mean_s")
    rate = np.full(len(columns), 2.0)
    if kind == "dense_closed":
        rate = attribute(columns, "serve.request_rate_per_s")
        assert np.all(rate > 0.1)
    np.testing.assert_allclose(attribute(columns, "serve.prefill_load"), rate / ranks * prefill_s, rtol=1e-6)
