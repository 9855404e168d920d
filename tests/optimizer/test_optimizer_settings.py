"""Settings of the engines go from the problem file to the deployments that are simulated, none is lost."""

from __future__ import annotations

import pytest

from llmopt_calibration.memory import memory_law
from llmopt_calibration.transfer import host_load_law
from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.loop.service import service_model, workbench
from llmopt_optimizer.scenario import resolve
from llmopt_problems import ProblemError, load
from llmopt_problems.deployment import Caching, Layout

CACHE = ["search.cache={eviction: lfu, page_tokens: 32, host_memory: 64 GB}"]


def test_cache_settings_reach_the_simulator() -> None:
    problem = load("quickstart", CACHE)
    deployment = parse_deployment("tp=4,pp=2,instances=1", problem)
    assert deployment.caching == Caching("lfu", 32, 64e9)
    scenario = resolve(problem)
    (pool,) = service_model(workbench(scenario), deployment).pools
    assert pool.page_tokens == 32
    assert pool.host is not None
    memory = memory_law(scenario.model, scenario.precision, Layout(4, 2))
    assert pool.host.capacity_tokens == int(64e9 / memory.kv_bytes_per_token)
    assert pool.host.bytes_per_token == pytest.approx(float(memory.kv_bytes_per_token) / 2)
    accelerator = scenario.sites[0].accelerator
    law = host_load_law(memory, 2, accelerator.host)
    expected = accelerator.host.latency_s + 1000 * pool.host.bytes_per_token / accelerator.host.bytes_per_s
    assert float(law.seconds(1000)) == pytest.approx(expected)


def test_settings_of_a_cache_that_is_off_are_refused() -> None:
    with pytest.raises(ProblemError, match="prefix cache that is off"):
        load("quickstart", [*CACHE, "search.prefix_cache=false"])
