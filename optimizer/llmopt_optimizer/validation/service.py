"""A serving point as the simulator takes it: its deployment, its step laws, its caches, its links.

What a point does not state is the engine's default (`EngineSettings`). The cache is sized by the engine's
own memory rule; where that leaves no room the memory fraction is raised as operators do, since the point was
served.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from llmopt_calibration.engine import engine_layer
from llmopt_calibration.engine.memory import cache_tokens
from llmopt_calibration.sources.serving_points import PointPool, ServingPoint
from llmopt_calibration.transfer import kv_transfer_law
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.validation.benches import Bench, BenchKey, Workshop, bench_key, memory_of
from llmopt_problems.deployment import Deployment, KvGrowth, PoolDeployment, Scheduling
from llmopt_simulator import KvTransfer, PoolService, ServiceModel, step_bounds

LARGEST_BATCH = 2048
"""Sequences of a rank's batch, the largest default of the three engines (TensorRT-LLM `max_batch_size`)."""
PREFILL_BATCH = 256
"""Requests that a prefill rank holds while their caches leave."""
IMBALANCE = 2
"""Room in a rank's batch over its even share of the users."""
HALF_DONE = 0.5
"""Share of their outputs that running requests hold on average."""
COMFORTABLE_REQUESTS = 4
"""Requests of the largest size that a cache should hold before the memory fraction is left alone."""


def deployment_of(point: ServingPoint) -> Deployment:
    """The point's pools with the engine's chunk and a batch cap that its users do not exceed."""
    pools = tuple(_pool(point, pool) for pool in point.pools)
    return Deployment(point.mode, pools, prefix_cache=False)


def service_of(workshop: Workshop, point: ServingPoint, deployment: Deployment) -> ServiceModel:
    """Step laws, caches and links of a point; `DeploymentError` when a pool has no room for a request."""
    key = bench_key(point)
    bench = workshop.bench(key)
    services = tuple(_pool_service(workshop, key, point, pool) for pool in deployment.pools)
    return ServiceModel(services, _transfer(bench, point) if len(services) == 2 else None)


def _pool(point: ServingPoint, pool: PointPool) -> PoolDeployment:
    ranks = pool.instances * pool.layout.dp * pool.layout.pp
    share = IMBALANCE * ceil(point.concurrency / ranks)
    batch = PREFILL_BATCH if pool.role == "prefill" else min(LARGEST_BATCH, 1 << (share - 1).bit_length())
    chunk, scheduling = _chunk_tokens(point, pool), _scheduling(point, pool)
    return PoolDeployment(pool.role, point.accelerator, pool.layout, pool.instances, chunk, batch, scheduling)


def _scheduling(point: ServingPoint, pool: PointPool) -> Scheduling:
    """The engine's own policy; a pool of one role has nothing to mix, and may not grow (`_capacity`)."""
    settings = engine_layer(point.engine).settings
    if pool.role != "serve":
        return Scheduling()
    growth = settings.growth
    return Scheduling(mixing=settings.mixing, growth=None if growth is None else _growth(growth))


def _growth(fields: Mapping[str, float]) -> KvGrowth:
    start = fields["conservativeness"]
    floor = fields.get("conservativeness_floor", start)
    return KvGrowth(start, floor, watermark=fields["watermark"])


def _chunk_tokens(point: ServingPoint, pool: PointPool) -> int:
    """The engine's step budget; a prefill pool takes a prompt whole."""
    default = engine_layer(point.engine).settings.chunk_tokens
    return max(default, point.longest_input) if pool.role == "prefill" else default


def _pool_service(
    workshop: Workshop, key: BenchKey, point: ServingPoint, pool: PoolDeployment
) -> PoolService:
    bench = workshop.bench(key)
    step = workshop.step(key, pool.layout, step_bounds(pool))
    return PoolService(step=step, kv_capacity_tokens=_capacity(bench, point, pool))


def _capacity(bench: Bench, point: ServingPoint, pool: PoolDeployment) -> int:
    """Tokens of a rank's cache; a decode pool, which cannot retract, is given what growing ones would use."""
    settings = bench.layer.settings
    largest_step = pool.batch_cap if pool.role == "decode" else pool.chunk_tokens
    terms = memory_of(bench, pool.layout, largest_step, pool.batch_cap)
    output = 0 if pool.role == "prefill" else point.longest_output
    request, room = point.longest_input + output, 0.0
    grows = pool.role == "decode" and settings.growth is not None
    kept = (point.longest_input + (HALF_DONE if grows else 1.0) * output) / request
    for fraction in (settings.memory_fraction, settings.largest_memory_fraction):
        held = cache_tokens(terms, settings, bench.accelerator.hbm_bytes, fraction, pool.batch_cap)
        room = held / kept
        if room >= COMFORTABLE_REQUESTS * request:
            break
    if room < request:
        raise DeploymentError(
            f"{pool.role} pool: {bench.model.name} in {point.weights} leaves no room for a request of "
            f"{request} tokens on {pool.accelerator} with TP {pool.layout.tp}: check layout and precision"
        )
    return int(room)


def _transfer(bench: Bench, point: ServingPoint) -> KvTransfer:
    """The cache of a mean prompt over the network between nodes."""
    prefill, decode = (pool.layout for pool in point.pools)
    law = kv_transfer_law(
        bench.model, bench.precision, prefill, decode, bench.accelerator.network, bench.coefficients
    )
    tokens = (point.shortest_input + point.longest_input) / 2
    return KvTransfer(
        latency_s=law.latency_s,
        bytes_per_token=float(law.bytes_moved(tokens)) / tokens,
        sender_bytes_per_s=float(law.sender_bytes_per_s) * prefill.dp,
        receiver_bytes_per_s=float(law.receiver_bytes_per_s) * decode.dp,
    )
