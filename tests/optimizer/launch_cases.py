"""Random deployments that the layout rules and the memory of their accelerators allow."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from llmopt_calibration.step import layout_violations
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.launch.installation import installation
from llmopt_optimizer.scenario import Scenario, resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import (
    Caching,
    Deployment,
    Layout,
    PoolDeployment,
    Role,
    Routing,
    Scheduling,
)

MODELS = (
    ("Llama-3.1-8B", "bf16"),
    ("Llama-3.3-70B", "fp8"),
    ("DeepSeek-R1", "native"),
    ("gpt-oss-120b", "native"),
    ("Qwen3-235B-A22B", "fp8"),
    ("Qwen3-32B", "bf16"),
)
ACCELERATORS = ("H100-SXM", "H200-SXM", "B200-SXM")


@cache
def scenario(model: str, weights: str, accelerator: str, engine: str, kv_cache: str) -> Scenario:
    """A scenario of one model on one accelerator; short requests, so that small pools hold them."""
    document = {
        "kind": "deployment",
        "name": "Launch case: ünïcode & spaces",
        "model": {"name": model, "weights": weights, "kv_cache": kv_cache},
        "hardware": {"accelerators": [{"name": accelerator, "count": 256, "price": "3 USD/h"}]},
        "engine": engine,
        "traffic": {
            "arrivals": {"process": "poisson", "rate": "5 req/s"},
            "input_tokens": {"distribution": "constant", "value": 1500},
            "output_tokens": {"distribution": "constant", "value": 300},
        },
        "objectives": [{"minimize": "cost_per_million_output_tokens"}],
    }
    return resolve(Problem.model_validate(document))


def cases(count: int, seed: int) -> Iterator[tuple[Scenario, Deployment]]:
    """`count` random deployments that fit."""
    draw = random.Random(seed)
    while count:
        model, weights = draw.choice(MODELS)
        engine, cache_type = draw.choice(("sglang", "vllm")), draw.choice(("bf16", "fp8"))
        where = scenario(model, weights, draw.choice(ACCELERATORS), engine, cache_type)
        deployment = _deployment(draw, where)
        if deployment is not None and _fits(where, deployment):
            count -= 1
            yield where, deployment


def _deployment(draw: random.Random, where: Scenario) -> Deployment | None:
    roles: tuple[Role, ...] = draw.choice((("serve",), ("prefill", "decode")))
    pools = [_pool(draw, where, role) for role in roles]
    if any(pool is None for pool in pools):
        return None
    mode = "aggregated" if roles == ("serve",) else "disaggregated"
    router = draw.choice(("round_robin", "shortest_queue", "cache_aware", "power_of_two", "central_queue"))
    cached = router == "cache_aware" or draw.random() < 0.7
    kept = tuple(pool for pool in pools if pool)
    return Deployment(mode, kept, router, cached, *_settings(draw))


def _settings(draw: random.Random) -> tuple[Caching, Routing]:
    """Settings of cache and router, mostly the usual ones."""
    if draw.random() < 0.7:
        return Caching(), Routing()
    host = draw.choice((None, 64e9, 7.5e9))
    caching = Caching(draw.choice(("lru", "lru", "lfu")), draw.choice((1, 16, 64)), host)
    routing = Routing(
        draw.choice((0.3, 0.75)),
        draw.choice((64.0, 10.0)),
        draw.choice((1.5, 1.1)),
        draw.choice((2**24, 10**6)),
        draw.choice((120.0, 0.0, 30.0)),
        draw.random() < 0.5,
        draw.choice(("shortest_queue", "random", "round_robin")),
    )
    return caching, draw.choice((Routing(), routing))


def _pool(draw: random.Random, where: Scenario, role: Role) -> PoolDeployment | None:
    tp = draw.choice((1, 2, 4, 8, 16, 32))
    layout = Layout(tp, draw.choice((1, 1, 2)), draw.choice((1, tp)), draw.choice((1, 1, 2, 4, 8)))
    if layout_violations(where.model, layout):
        return None
    policy = Scheduling(
        mixing=draw.choice(("decode_first", "decode_first", "prefill_first")),
        order=draw.choice(("fcfs", "fcfs", "priority", "shortest_prompt")),
        queue_limit=draw.choice((None, 100)),
    )
    caps = (draw.choice((512, 2048, 8192)), draw.choice((16, 64, 256)))
    accelerator = where.sites[0].accelerator.name
    return PoolDeployment(role, accelerator, layout, draw.randint(1, 6), *caps, policy)


def _fits(where: Scenario, deployment: Deployment) -> bool:
    try:
        installation(where, deployment)
    except DeploymentError:
        return False
    return True
