"""The rules that inputs must keep, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np

from llmopt_problems.deployment import Deployment, Eviction, PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.errors import SimulationError
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.scheduling_checks import scheduling_problems
from llmopt_simulator.service import KvTransfer, PoolService, ServiceModel

_LARGEST_COUNT = 2**31 - 1
_ROLES = {"aggregated": ("serve",), "disaggregated": ("prefill", "decode")}


def check_inputs(
    workload: Workload, deployment: Deployment, service: ServiceModel, options: SimulationOptions
) -> None:
    """Raise `SimulationError` with the first rule that the inputs break."""
    for problem in _problems(workload, deployment, service, options):
        raise SimulationError(problem)


def _problems(
    workload: Workload, deployment: Deployment, service: ServiceModel, options: SimulationOptions
) -> Iterator[str]:
    yield from _request_problems(workload.requests)
    yield from _arrival_problems(workload)
    yield from _turn_problems(workload)
    yield from _pool_problems(deployment, service)
    yield from scheduling_problems(workload.requests, deployment)
    if options.warmup_fraction is not None and not 0.0 <= options.warmup_fraction < 1.0:
        yield f"warmup_fraction is {options.warmup_fraction}: give a share of the requests in [0, 1), or None"


def _request_problems(requests: Requests) -> Iterator[str]:
    count = len(requests)
    if count == 0:
        yield "the workload has no requests: nothing can be measured; give at least one"
        return
    for name, tokens in (("input", requests.input_tokens), ("output", requests.output_tokens)):
        if len(tokens) != count:
            yield f"{name}_tokens has {len(tokens)} entries for {count} requests: give one a request"
        elif tokens.min() < 1 or tokens.max() > _LARGEST_COUNT:
            i = int(np.argmax((tokens < 1) | (tokens > _LARGEST_COUNT)))
            yield f"request {i} has {name}_tokens = {tokens[i]}: counts are from 1 to 2^31 - 1"
    yield from _block_problems(requests)


def _block_problems(requests: Requests) -> Iterator[str]:
    offsets = requests.block_offsets
    if len(offsets) != len(requests) + 1 or offsets[-1] != len(requests.block_ids):
        yield f"block_offsets has {len(offsets)} entries, ends at {offsets[-1:]}: give n + 1, up to block_ids"
        return
    blocks = np.diff(offsets)
    if requests.block_tokens < 1:
        yield f"block_tokens is {requests.block_tokens}: a block has at least one token"
    elif blocks.min() < 0 or offsets[0] != 0:
        yield "block_offsets must start at 0 and never fall"
    elif np.any(blocks * requests.block_tokens > requests.input_tokens):
        i = int(np.argmax(blocks * requests.block_tokens > requests.input_tokens))
        yield (
            f"request {i} names {blocks[i]} blocks of {requests.block_tokens} tokens but has "
            f"{requests.input_tokens[i]} input tokens: name full blocks only"
        )
    elif len(requests.block_ids) and requests.block_ids.min() < 0:
        yield f"block id {requests.block_ids.min()} is negative: ids are dense and start at 0"


def _arrival_problems(workload: Workload) -> Iterator[str]:
    if workload.concurrency is not None:
        if workload.concurrency < 1:
            yield f"concurrency is {workload.concurrency}: a closed loop needs at least one user"
        return
    arrival_s = workload.requests.arrival_s
    if not np.all(np.isfinite(arrival_s)) or arrival_s[0] < 0.0:
        yield "arrival_s holds a negative, infinite or missing time: give seconds from the start of the run"
    elif np.any(np.diff(arrival_s) < 0.0):
        i = int(np.argmax(np.diff(arrival_s) < 0.0))
        yield f"request {i + 1} arrives at {arrival_s[i + 1]} s, before request {i}: sort by arrival"


def _turn_problems(workload: Workload) -> Iterator[str]:
    think_s, follows, count = workload.think_s, workload.follows, len(workload.requests)
    if think_s is not None:
        if len(think_s) != count:
            yield f"think_s has {len(think_s)} entries for {count} requests: give one a request, or None"
        elif not np.all((think_s >= 0.0) & np.isfinite(think_s)):
            yield "think_s holds a negative, infinite or missing time: give seconds, 0 or more"
    if follows is None:
        return
    if len(follows) != count:
        yield f"follows has {len(follows)} entries for {count} requests: give one a request, or None"
    elif np.any((follows >= np.arange(count)) | (follows < -1)):
        i = int(np.argmax((follows >= np.arange(count)) | (follows < -1)))
        yield f"request {i} follows request {follows[i]}: name an earlier one, or -1"


def _pool_problems(deployment: Deployment, service: ServiceModel) -> Iterator[str]:
    roles = tuple(pool.role for pool in deployment.pools)
    if roles != _ROLES[deployment.mode]:
        yield f"{deployment.mode} serving has pools {_ROLES[deployment.mode]}, not {roles}"
    if len(service.pools) != len(deployment.pools):
        yield f"{len(service.pools)} pool services for {len(deployment.pools)} pools: give one a pool"
        return
    for pool, pool_service in zip(deployment.pools, service.pools, strict=True):
        yield from _caps_problems(pool, pool_service)
    yield from _cache_problems(deployment, service)
    if deployment.mode == "disaggregated":
        yield from _transfer_problems(service.transfer)


def _caps_problems(pool: PoolDeployment, service: PoolService) -> Iterator[str]:
    counts = {
        "instances": pool.instances,
        "tp": pool.layout.tp,
        "pp": pool.layout.pp,
        "dp": pool.layout.dp,
        "chunk_tokens": pool.chunk_tokens,
        "batch_cap": pool.batch_cap,
        "page_tokens": service.page_tokens,
    }
    for name, value in counts.items():
        if value < 1:
            yield f"the {pool.role} pool has {name} = {value}: it must be at least 1"
    if service.kv_capacity_tokens < 0:
        yield f"the {pool.role} pool has kv_capacity_tokens = {service.kv_capacity_tokens}: give 0 or more"


def _cache_problems(deployment: Deployment, service: ServiceModel) -> Iterator[str]:
    if deployment.caching.eviction not in get_args(Eviction):
        choices = ", ".join(get_args(Eviction))
        yield f"eviction = {deployment.caching.eviction!r}: choose one of {choices}"
    if deployment.caching.host_bytes is not None and service.pools[0].host is None:
        yield "prefixes are to be kept in host memory and its service is unknown: give PoolService.host"
    hosts = [pool.host for pool in service.pools if pool.host is not None]
    if any(min(host.capacity_tokens, host.bytes_per_token, host.latency_s) < 0.0 for host in hosts):
        yield "a host tier has a negative capacity, size or latency: give 0 or more"
    if not all(host.bytes_per_s > 0.0 for host in hosts):
        yield "a host link without bandwidth never loads: give bytes per second above 0"


def _transfer_problems(transfer: KvTransfer | None) -> Iterator[str]:
    if transfer is None:
        yield "disaggregated serving without a KV transfer: give ServiceModel.transfer"
        return
    if not (transfer.latency_s >= 0.0 and transfer.bytes_per_token >= 0.0):
        yield "the KV transfer has a negative or missing latency or size: give 0 or more"
    if not (transfer.sender_bytes_per_s > 0.0 and transfer.receiver_bytes_per_s > 0.0):
        yield "a KV link without bandwidth never delivers: give bytes per second above 0"
