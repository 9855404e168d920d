"""Inputs checked and laid out as the arrays of the kernel."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.deployment import Deployment, PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.answers import answer_blocks
from llmopt_simulator.arrivals import (
    most_thinkers,
    pauses_to_think,
    set_first_arrival,
    turn_links,
)
from llmopt_simulator.checks import check_inputs
from llmopt_simulator.fleet import nobody_holds, tournaments
from llmopt_simulator.kernel import records as shapes
from llmopt_simulator.kernel import state as k
from llmopt_simulator.kernel.laws import Laws, PoolLaw
from llmopt_simulator.kernel.settings import SETTINGS
from llmopt_simulator.links import link_records, set_host_tiers, set_places, transfer_settings
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.policies import order_keys, queue_limit, set_scheduling
from llmopt_simulator.roles import back_start, between, front_ranks, set_roles
from llmopt_simulator.routers import router_settings, set_workers, tree_arrays, worker_records
from llmopt_simulator.service import PoolService, ServiceModel
from llmopt_simulator.speculating import agenda_steps, set_speculation, speculation_stream, survivals

EVICTIONS: Final = {"lru": k.LRU, "lfu": k.LFU, "fifo": k.FIFO}
"""Eviction policies by their names in a deployment."""


def lay_out(
    workload: Workload,
    deployment: Deployment,
    service: ServiceModel,
    seed: int,
    options: SimulationOptions,
    log_steps: int = 0,
) -> tuple[k.State, Laws]:
    """The state before the first event, and the laws; raises `SimulationError` on inputs that cannot run.

    The log has room for the first `log_steps` steps.
    """
    check_inputs(workload, deployment, service, options, seed)
    requests = workload.requests
    blocks = shareable_blocks(requests) if deployment.prefix_cache else np.zeros(len(requests), np.int64)
    engines = _engines(deployment.pools)
    ranks = _ranks(deployment.pools, service.pools, requests)
    set_roles(ranks, engines, deployment)
    set_scheduling(ranks, engines, deployment)
    workers = worker_records(deployment)
    set_workers(ranks, workers)
    set_places(ranks, deployment, service)
    set_host_tiers(ranks, deployment, service.pools, requests.block_tokens)
    nodes, hash_bits = _cache_sizes(ranks, deployment, requests)
    _place_caches(ranks, nodes, 1 << hash_bits)
    set_speculation(ranks, engines, deployment, service, agenda_steps(requests, deployment))
    settings = _settings(workload, deployment, service, hash_bits, seed)
    records = _requests(requests, blocks)
    if deployment.prefix_cache:
        records["answer_start"], records["answer_blocks"] = answer_blocks(workload)
    records["key"] = order_keys(requests, deployment.pools[0].scheduling)
    links = link_records(ranks, deployment, service)
    state = _allocate(settings, records, workload, ranks, engines, nodes, links)
    state.world["stale"], state.ranks["stale"] = front_ranks(deployment), True
    state.world["random"] = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    set_first_arrival(state, workload)
    trees = tree_arrays(deployment, requests)
    state.world["next_eviction_s"] = deployment.routing.eviction_interval_s
    log = np.zeros(log_steps, shapes.STEP)
    state = state._replace(log=log, survival=survivals(deployment), workers=workers, **trees)
    return state, _laws(service)


def shareable_blocks(requests: Requests) -> NDArray[np.int64]:
    """Blocks of every request that others may share, shape (n,)."""
    return np.diff(requests.block_offsets)


def _laws(service: ServiceModel) -> Laws:
    ends = service.pools[0], service.pools[-1]
    steps = [*(pool.step for pool in (*ends, between(service.pools))), *(p.draft or p.step for p in ends)]
    return Laws(*(PoolLaw(step.arrays(), step.scratch()) for step in steps))


def _settings(
    workload: Workload,
    deployment: Deployment,
    service: ServiceModel,
    hash_bits: int,
    seed: int,
) -> k.Records:
    values = {
        "front_ranks": front_ranks(deployment),
        "back_start": back_start(deployment),
        "ranks": sum(pool.ranks for pool in deployment.pools),
        "engines": sum(pool.engines for pool in deployment.pools),
        "pipelined": any(pool.layout.pp > 1 for pool in deployment.pools),
        "instances": sum(pool.instances for pool in deployment.pools),
        "disaggregated": deployment.mode != "aggregated",
        "closed_loop": workload.concurrency is not None,
        "prefix_cache": deployment.prefix_cache,
        "eviction": EVICTIONS[deployment.caching.eviction],
        "queue_limit": queue_limit(deployment),
        "grows": deployment.pools[0].scheduling.growth is not None,
        "block_tokens": workload.requests.block_tokens,
        "ring": agenda_steps(workload.requests, deployment),
        "stream": speculation_stream(seed),
        "hash_bits": hash_bits,
        **router_settings(deployment, workload.requests),
        **transfer_settings(deployment, service),
    }
    return np.array([tuple(values[name] for name in SETTINGS.names or ())], SETTINGS)


def _requests(requests: Requests, blocks: NDArray[np.int64]) -> k.Records:
    records = np.zeros(len(requests), k.REQUEST)
    for field in ("admitted_s", "prefilled_s", "first_token_s", "finish_s", "link_s"):
        records[field] = np.nan
    records["arrival_s"] = requests.arrival_s
    records["input_tokens"] = records["prompt_tokens"] = requests.input_tokens
    records["output_tokens"] = requests.output_tokens
    records["blocks"] = blocks
    records["blocks_start"] = requests.block_offsets[:-1]
    for field in ("rank", "decode_rank", "next", "previous", "child"):
        records[field] = k.NONE
    return records


def _engines(pools: tuple[PoolDeployment, ...]) -> k.Records:
    engines = np.zeros(sum(pool.engines for pool in pools), k.ENGINE)
    layout = [
        (number, engine // pool.layout.pp, pool.layout.dp)
        for number, pool in enumerate(pools)
        for engine in range(pool.engines)
    ]
    sizes = np.array([dp for _, _, dp in layout])
    engines["pool"] = [pool for pool, _, _ in layout]
    first = np.cumsum([0, *(pool.instances for pool in pools)])
    engines["stages"] = [pools[pool].layout.pp for pool, _, _ in layout]
    engines["instance"] = [first[pool] + instance for pool, instance, _ in layout]
    engines["rank_stop"] = np.cumsum(sizes)
    engines["rank_start"] = np.cumsum(sizes) - sizes
    # An instance has as many stages as engines, so stages are numbered as engines are.
    before = np.cumsum([0, *(pool.engines for pool in pools)])[engines["pool"]]
    engines["first_stage"] = before + [instance for _, instance, _ in layout] * engines["stages"]
    return engines


def _ranks(
    pools: tuple[PoolDeployment, ...], services: tuple[PoolService, ...], requests: Requests
) -> k.Records:
    ranks = np.zeros(sum(pool.ranks for pool in pools), k.RANK)
    counts = [pool.ranks for pool in pools]
    pages = np.array([service.page_tokens for service in services])
    ranks["page_tokens"] = np.repeat(pages, counts)
    ranks["capacity_pages"] = np.repeat([s.kv_capacity_tokens // s.page_tokens for s in services], counts)
    ranks["block_pages"] = np.repeat(-(-requests.block_tokens // pages), counts)
    ranks["chunk_tokens"] = np.repeat([pool.chunk_tokens for pool in pools], counts)
    ranks["batch_cap"] = np.repeat([pool.batch_cap for pool in pools], counts)
    ranks["engine"] = np.repeat(
        np.arange(sum(p.engines for p in pools)), [p.layout.dp for p in pools for _ in range(p.engines)]
    )
    ranks["instance"] = _engines(pools)["instance"][ranks["engine"]]
    ranks["granule"] = np.repeat([service.step.granule for service in services], counts)
    ranks["newest"] = k.NONE
    ranks["free_pages"] = ranks["capacity_pages"]
    room = np.minimum(ranks["batch_cap"], len(requests))
    ranks["heap"] = np.cumsum(room) - room
    return ranks


def _cache_sizes(ranks: k.Records, deployment: Deployment, requests: Requests) -> tuple[int, int]:
    """Nodes that one front rank may need, and bits of its hash table, at most half full.

    Every node holds a page or more, so the cache of a rank bounds its nodes; so do the workload's distinct
    blocks and tails.
    """
    if not deployment.prefix_cache:
        return 0, 1
    front = ranks[: front_ranks(deployment)]
    capacity = int((front["capacity_pages"] + front["host_capacity_pages"]).max())
    blocks = min(len(np.unique(requests.block_ids)), capacity // int(front["block_pages"].min()))
    return min(capacity, blocks + len(requests)), max(1, (2 * blocks).bit_length())


def _place_caches(ranks: k.Records, nodes: int, table: int) -> None:
    ranks["node_base"] = np.arange(len(ranks)) * nodes
    ranks["free_node"] = ranks["node_base"]
    ranks["hash_base"] = np.arange(len(ranks)) * table
    for field in ("lru_head", "lru_tail", "host_head", "host_tail"):
        ranks[field] = k.NONE


def _allocate(
    settings: k.Records,
    requests: k.Records,
    workload: Workload,
    ranks: k.Records,
    engines: k.Records,
    nodes: int,
    links: k.Records,
) -> k.State:
    engine_count, rank_count = len(engines), len(ranks)
    front, hash_bits = int(settings["front_ranks"][0]), int(settings["hash_bits"][0])
    keys, winners = tournaments(settings)
    holders = nobody_holds(settings, workload.requests.block_ids)
    tree, flows = np.zeros(front * nodes, shapes.NODE), _most_flows(settings, requests, ranks)
    tree["next"] = np.arange(1, len(tree) + 1)
    return k.State(
        settings=settings,
        world=np.zeros(1, k.WORLD),
        requests=requests,
        block_ids=np.ascontiguousarray(workload.requests.block_ids, np.int64),
        turns=turn_links(workload),
        think_s=pauses_to_think(workload),
        thinkers=np.zeros(most_thinkers(workload), shapes.THINKER),
        ranks=ranks,
        engines=engines,
        queues=np.zeros(5 * rank_count + 2, shapes.QUEUE),
        nodes=tree,
        leaves=np.zeros(len(tree) if settings["eviction"][0] != k.LRU else 0, np.int64),
        table=np.full(front << hash_bits, k.NONE, np.int64),
        scratch=np.zeros(max(1, int(requests["blocks"].max())), np.int64),
        completions=np.zeros(int(np.minimum(ranks["batch_cap"], len(requests)).sum()), np.int64),
        growth=np.zeros(int((ranks["growth_period"] * ranks["grows"]).sum()), np.int64),
        agenda=np.zeros((rank_count * int(settings["ring"][0]), int(ranks["verify"].max()) + 1), np.int32),
        **_filled_later(),
        stages_s=np.zeros(engine_count),
        run_ends_s=np.zeros((engine_count, k.RUN_STEPS)),
        flows=np.zeros(flows, shapes.FLOW),
        setups=np.zeros(2 * flows, shapes.SETUP),
        links=links,
        keys=keys,
        winners=winners,
        stale=np.arange(front),
        holders=holders,
        candidates=np.zeros(holders.shape[1], np.uint64),
        sources=np.zeros(engine_count + 3, shapes.SOURCE),
        ready=np.zeros(engine_count, np.int64),
        totals=np.zeros((engine_count, k.TOTALS)),
        itl=np.zeros(k.ITL_BINS, np.int64),
    )


def _filled_later() -> dict[str, k.Records]:
    """Empty until speculation, routers with trees of their own or a log put something there."""
    return {
        "survival": np.zeros(0),
        "workers": np.zeros(0, shapes.WORKER),
        "entries": np.zeros(0, shapes.ENTRY),
        "entry_table": np.zeros(0, np.int64),
        "log": np.zeros(0, shapes.STEP),
    }


def _most_flows(settings: k.Records, requests: k.Records, ranks: k.Records) -> int:
    """Every flow is of another request, which holds a page or more of its front rank."""
    if not settings["disaggregated"][0] and not ranks["host_capacity_pages"].any():
        return 0
    front = int(settings["front_ranks"][0])
    return min(len(requests), int(ranks["capacity_pages"][:front].sum()))
