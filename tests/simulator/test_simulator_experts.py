"""The drawn imbalance of experts: what the law expects, measured in every run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from llmopt_calibration.expert_load import balance, group_shares
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.experts import ExpertUse
from llmopt_simulator import ExpertGroups, ServiceModel, frozen_parameters, metrics, simulate
from llmopt_simulator.expert_draws import drawn_imbalance

ZIPF = ExpertUse("zipf", 0.6)


@pytest.mark.parametrize("tokens", [2, 16, 300])
def test_draws_are_what_the_law_expects(tokens: int) -> None:
    groups = ExpertGroups(tuple(group_shares(ZIPF, 64, 8)), 4)
    expected = float(balance(ZIPF, 64, 8).imbalance(sp.Integer(4 * tokens)))
    seen = [drawn_imbalance(groups, float(tokens), seed) for seed in range(20)]
    assert np.mean(seen) == pytest.approx(expected, rel=0.05)
    assert seen[0] == drawn_imbalance(groups, float(tokens), 0) != seen[1]


def test_a_run_measures_it_at_the_size_of_its_steps(make) -> None:
    """Nine users decode together for long, so a step has nine tokens: 36 choices."""
    pool = PoolDeployment("serve", "x", Layout(tp=8, ep=8), 1, 64, 9)
    service = make.service(pool, 10_000, 1, 0.1)
    workload = make.workload(np.zeros(18), 1, 400, 9)
    groups = ExpertGroups(tuple(group_shares(ZIPF, 64, 8)), 4)
    deployment = Deployment("aggregated", (pool,), prefix_cache=False)
    for experts in (groups, None):
        run = simulate(workload, deployment, ServiceModel((replace(service, experts=experts),)), 3)
        found = frozen_parameters(run, metrics(run))["expert_imbalance"]
        if experts is None:
            assert math.isnan(found)
        else:
            expected = float(balance(ZIPF, 64, 8).imbalance(sp.Integer(36)))
            assert found == pytest.approx(expected, rel=0.08)


def test_no_tokens_have_no_imbalance() -> None:
    groups = ExpertGroups((0.5, 0.5), 2)
    assert math.isnan(drawn_imbalance(groups, 0.0, 0))
    assert math.isnan(drawn_imbalance(None, 5.0, 0))
