"""The rules that inputs must keep, each with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

from llmopt_problems.deployment import (
    Deployment,
    Eviction,
    Mode,
    Placement,
    PoolDeployment,
    TransferMode,
    Transfers,
)
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator.errors import SimulationError
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.roles import role_problems
from llmopt_simulator.routers import routing_problems
from llmopt_simulator.scheduling_checks import scheduling_problems
from llmopt_simulator.service import KvTransfer, PoolService, ServiceModel
from llmopt_simulator.speculating import speculation_problems
from llmopt_simulator.workload_checks import LARGEST_COUNT, is_count, workload_problems

_MOST_RANKS = 2**20
_LARGEST_PAGE = 2**16
_LARGEST_CAPACITY = 2**53


def check_inputs(
    workload: Workload,
    deployment: Deployment,
    service: ServiceModel,
    options: SimulationOptions,
    seed: int = 0,
) -> None:
    """Raise `SimulationError` with the first rule that the inputs break."""
    if not is_count(seed) or seed < 0:
        raise SimulationError(f"seed is {seed}: give a whole number, 0 or more")
    for problem in _problems(workload, deployment, service, options):
        raise SimulationError(problem)


def _problems(
    workload: Workload, deployment: Deployment, service: ServiceModel, options: SimulationOptions
) -> Iterator[str]:
    yield from workload_problems(workload)
    yield from _pool_problems(deployment, service)
    yield from scheduling_problems(workload.requests, deployment)
    yield from speculation_problems(deployment, service)
    yield from _option_problems(options)


def _option_problems(options: SimulationOptions) -> Iterator[str]:
    if options.warmup_fraction is not None and not 0.0 <= options.warmup_fraction < 1.0:
        yield f"warmup_fraction is {options.warmup_fraction}: give a share of the requests in [0, 1), or None"


def _pool_problems(deployment: Deployment, service: ServiceModel) -> Iterator[str]:
    if deployment.mode not in get_args(Mode):
        yield f"mode = {deployment.mode!r}: choose one of {', '.join(get_args(Mode))}"
    yield from role_problems(deployment)
    if len(service.pools) != len(deployment.pools):
        yield f"{len(service.pools)} pool services for {len(deployment.pools)} pools: give one a pool"
        return
    for pool, pool_service in zip(deployment.pools, service.pools, strict=True):
        yield from _caps_problems(pool, pool_service)
    yield from _cache_problems(deployment, service)
    yield from routing_problems(deployment)
    if deployment.mode != "aggregated":
        yield from _transfer_problems(service.transfer, deployment.transfers)


def _caps_problems(pool: PoolDeployment, service: PoolService) -> Iterator[str]:
    counts = {
        "instances": pool.instances,
        "tp": pool.layout.tp,
        "ep": pool.layout.ep,
        "pp": pool.layout.pp,
        "dp": pool.layout.dp,
        "chunk_tokens": pool.chunk_tokens,
        "batch_cap": pool.batch_cap,
        "page_tokens": service.page_tokens,
    }
    for name, value in counts.items():
        if not is_count(value) or not 1 <= value <= LARGEST_COUNT:
            yield f"the {pool.role} pool has {name} = {value}: give a whole number from 1 to 2^31 - 1"
            return
    layout, capacity = pool.layout, service.kv_capacity_tokens
    if layout.tp % layout.dp or layout.tp % layout.ep:
        yield (
            f"the {pool.role} pool has tp = {layout.tp}, dp = {layout.dp}, ep = {layout.ep}: tp must be a "
            + ("multiple of dp and of ep, which split it")
        )
    if service.page_tokens > _LARGEST_PAGE:
        yield f"the {pool.role} pool has page_tokens = {service.page_tokens}: give {_LARGEST_PAGE} at most"
    if pool.ranks > _MOST_RANKS:
        yield f"the {pool.role} pool has {pool.ranks} ranks: {_MOST_RANKS} can be simulated"
    if not is_count(capacity) or not 0 <= capacity <= _LARGEST_CAPACITY:
        yield f"the {pool.role} pool has kv_capacity_tokens = {capacity}: give a whole number, 0 to 2^53"


def _cache_problems(deployment: Deployment, service: ServiceModel) -> Iterator[str]:
    if deployment.caching.eviction not in get_args(Eviction):
        choices = ", ".join(get_args(Eviction))
        yield f"eviction = {deployment.caching.eviction!r}: choose one of {choices}"
    if deployment.caching.host_bytes is not None and service.pools[0].host is None:
        yield "prefixes are to be kept in host memory and its service is unknown: give PoolService.host"
    hosts = [pool.host for pool in service.pools if pool.host is not None]
    sizes = [value for h in hosts for value in (h.capacity_tokens, h.bytes_per_token, h.latency_s)]
    if not all(0.0 <= value <= _LARGEST_CAPACITY for value in sizes):
        yield "a host tier has a negative, infinite or missing capacity, size or latency: give 0 or more"
    if not all(host.bytes_per_s > 0.0 for host in hosts):
        yield "a host link without bandwidth never loads: give bytes per second above 0"


def _tier_problems(transfer: KvTransfer, rules: Transfers) -> Iterator[str]:
    near, rack = transfer.near, transfer.rack
    if rules.placement not in get_args(Placement):
        yield f"transfers.placement = {rules.placement!r}: choose one of {', '.join(get_args(Placement))}"
    if rules.placement != "apart" and near is None:
        yield f"placement {rules.placement} without a link inside nodes: give KvTransfer.near, or apart"
    for tier in (near, rack):
        if tier is not None and not (is_count(tier.gpus) and 1 <= tier.gpus <= LARGEST_COUNT):
            yield f"a node or rack has gpus = {tier.gpus}: give a whole number from 1 to 2^31 - 1"
            return
        if tier is not None and not 0.0 <= tier.latency_s < math.inf:
            yield "a tier of the KV transfer has a negative or infinite latency: give seconds, 0 or more"
    if near and not (near.sender_bytes_per_s > 0.0 and near.receiver_bytes_per_s > 0.0):
        yield "a KV link inside a node without bandwidth never delivers: give bytes per second above 0"
    if rack and not rack.bytes_per_s > 0.0:
        yield "a rack's link without bandwidth never delivers: give bytes per second above 0"
    if near and rack and rack.gpus % near.gpus:
        yield f"a rack of {rack.gpus} accelerators holds no whole nodes of {near.gpus}: give a multiple"


def _transfer_problems(transfer: KvTransfer | None, rules: Transfers) -> Iterator[str]:
    if rules.mode not in get_args(TransferMode):
        yield f"transfers.mode = {rules.mode!r}: choose one of {', '.join(get_args(TransferMode))}"
    if not 0.0 <= rules.overhead_s < math.inf:
        yield f"transfers.overhead_s = {rules.overhead_s}: give seconds, 0 or more"
    if transfer is None:
        yield "disaggregated serving without a KV transfer: give ServiceModel.transfer"
        return
    if not (0.0 <= transfer.latency_s < math.inf and 0.0 <= transfer.bytes_per_token < math.inf):
        yield "the KV transfer has a negative, infinite or missing latency or size: give 0 or more"
    if not (transfer.sender_bytes_per_s > 0.0 and transfer.receiver_bytes_per_s > 0.0):
        yield "a KV link without bandwidth never delivers: give bytes per second above 0"
    yield from _tier_problems(transfer, rules)
    if not is_count(transfer.layers) or not 1 <= transfer.layers <= LARGEST_COUNT:
        yield f"the KV transfer has layers = {transfer.layers}: give a whole number from 1 to 2^31 - 1"
    if rules.mode == "per_layer" and transfer.bytes_per_token == 0.0:
        yield "layers without bytes are never sent: give bytes_per_token above 0, or transfers.mode = 'end'"
