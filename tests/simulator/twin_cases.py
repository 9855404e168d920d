"""Random small systems for the twin, and what it and the kernel must agree on."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import sympy as sp

from llmopt_calibration.compiled import CompiledStep, step_seconds
from llmopt_calibration.grid import Grid
from llmopt_calibration.lowering import lower
from llmopt_calibration.step.symbols import StepSymbols
from llmopt_problems.deployment import (
    ROLES,
    Caching,
    DecodePolicy,
    Deployment,
    KvGrowth,
    Layout,
    Mode,
    Placement,
    PoolDeployment,
    RankPolicy,
    RouterPolicy,
    Routing,
    Scheduling,
    Transfers,
)
from llmopt_problems.speculation import Speculation
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run
from llmopt_simulator.service import HostTier, KvTransfer, NearLink, RackLink, ServiceModel


def random_workload(rng: np.random.Generator, longest: int) -> Workload:
    """Up to 40 requests; some follow a random tree of prefixes, some bursts arrive at one moment."""
    count = int(rng.integers(1, 41))
    gaps = rng.exponential(rng.choice([0.2, 1.0, 5.0]), count) * (rng.random(count) < 0.8)
    inputs = rng.integers(1, longest, count)
    outputs = rng.integers(1, rng.choice([2, 6, longest]), count)
    block = int(rng.choice([1, 3, 4, 7]))
    names: dict[tuple[int, ...], int] = {}
    offsets, ids = [0], []
    for tokens in inputs:
        path: tuple[int, ...] = ()
        for _ in range(int(rng.integers(0, tokens // block + 1))):
            path = (*path, int(rng.integers(0, 2)))
            ids.append(names.setdefault(path, len(names)))
        offsets.append(len(ids))
    arrays = np.array(offsets, np.int64), np.array(ids, np.int64)
    requests = Requests(np.cumsum(gaps), inputs, outputs, *arrays, block)
    closed = rng.random() < 0.3
    return Workload(requests, int(rng.integers(1, 12)) if closed else None)


def random_growth(rng: np.random.Generator) -> KvGrowth:
    start = float(rng.choice([0.0, 0.3, 0.7, 1.0]))
    floor = None if rng.random() < 0.5 else 0.14 * start
    watermark = float(rng.choice([0.0, 0.01, 0.1]))
    return KvGrowth(start, floor, int(rng.choice([5, 600])), watermark, bool(rng.random() < 0.3))


def random_scheduling(rng: np.random.Generator, growing: bool, limit: int | None) -> Scheduling:
    return Scheduling(
        str(rng.choice(["decode_first", "prefill_first"])),  # type: ignore[arg-type]
        str(rng.choice(["fcfs", "shortest_prompt", "priority"])),  # type: ignore[arg-type]
        (2, 0, 1) if rng.random() < 0.5 else (),
        limit,
        float(rng.choice([0.0, 0.0, 0.5, 3.0])),
        int(rng.integers(1, 6)) if rng.random() < 0.5 else None,
        float(rng.choice([0.0, 0.1, 0.4])),
        (overlapped := bool(rng.random() < 0.6)),
        random_growth(rng) if growing and rng.random() < 0.8 else None,
        overlapped and bool(rng.random() < 0.6),
    )


def with_transfers(rng: np.random.Generator, deployment: Deployment, service: ServiceModel) -> Deployment:
    """The same deployment, placed somehow, its contexts sent by layer or with an overhead."""
    mode, near = (
        str(rng.choice(["end", "per_layer", "per_layer"])),
        service.transfer and service.transfer.near,
    )
    placement = str(rng.choice(get_args(Placement))) if near else "apart"
    transfers = Transfers(mode, float(rng.choice([0.0, 0.2])), placement)  # type: ignore[arg-type]
    routing = replace(deployment.routing, decode=str(rng.choice(["nearest", deployment.routing.decode])))  # type: ignore[arg-type]
    return replace(deployment, transfers=transfers, routing=routing)


def with_scheduling(rng: np.random.Generator, deployment: Deployment) -> Deployment:
    """The same deployment, scheduled otherwise."""
    limit = int(rng.integers(1, 4)) if rng.random() < 0.5 else None
    growing = deployment.mode == "aggregated"
    pools = [
        replace(pool, scheduling=random_scheduling(rng, growing, limit if pool.role != "decode" else None))
        for pool in deployment.pools
    ]
    return replace(deployment, pools=tuple(pools))


def with_hybrid_scheduling(rng: np.random.Generator, deployment: Deployment) -> Deployment:
    """The same hybrid deployment, its pools scheduled in ways that such pools can be."""
    order, limit = (
        random_scheduling(rng, False, None),
        int(rng.integers(1, 4)) if rng.random() < 0.4 else None,
    )
    pools = []
    for pool in deployment.pools:
        own = random_scheduling(rng, False, limit if pool.role != "decode" else None)
        same = replace(own, order=order.order, priorities=order.priorities, plan_ahead=False)
        cap = deployment.pools[0].batch_cap if deployment.router == "central_queue" else pool.batch_cap
        pools.append(replace(pool, scheduling=same, batch_cap=cap))
    return replace(deployment, pools=tuple(pools))


def starved(rng: np.random.Generator, workload: Workload) -> tuple[Workload, Deployment]:
    """Long outputs for one or two ranks that grow: they run out of pages again and again."""
    dp, roomy = int(rng.choice([1, 1, 2])), int(rng.choice([4, 9, 20]))
    layout = Layout(tp=dp, pp=int(rng.choice([1, 1, 2])), dp=dp)
    scheduling = replace(random_scheduling(rng, False, None), growth=random_growth(rng))
    pool = PoolDeployment("serve", "x", layout, 1, int(rng.choice([8, 20, 64])), roomy, scheduling)
    router = str(rng.choice(["round_robin", "kv_aware", "central_queue"]))
    outputs = rng.integers(1, 60, len(workload.requests))
    longer = replace(workload.requests, output_tokens=outputs)
    deployment = Deployment("aggregated", (pool,), router, bool(rng.random() < 0.6))  # type: ignore[arg-type]
    return replace(workload, requests=longer), deployment


def with_classes(rng: np.random.Generator, workload: Workload) -> Workload:
    classes = rng.integers(0, 3, len(workload.requests))
    return replace(workload, requests=replace(workload.requests, class_ids=classes))


def random_pool(rng: np.random.Generator, role: str) -> PoolDeployment:
    dp = int(rng.choice([1, 1, 2, 3]))
    layout = Layout(tp=dp, pp=int(rng.choice([1, 1, 2])), dp=dp)
    chunk, cap = int(rng.choice([2, 5, 16, 64])), int(rng.choice([1, 2, 4, 9]))
    return PoolDeployment(role, "x", layout, int(rng.integers(1, 4)), chunk, cap)  # type: ignore[arg-type]


def random_deployment(rng: np.random.Generator, mode: Mode | None = None) -> Deployment:
    """Of a mode, or aggregated or disaggregated."""
    mode = mode or ("disaggregated" if rng.random() < 0.5 else "aggregated")
    roles = ROLES[mode][int(rng.integers(len(ROLES[mode])))]
    pools = tuple(random_pool(rng, role) for role in roles)
    router = str(rng.choice(get_args(RouterPolicy)))
    routing = random_routing(rng, dp_aware=router in ("kv_aware", "central_queue"))
    return Deployment(mode, pools, router, bool(rng.random() < 0.8), routing=routing)  # type: ignore[arg-type]


def random_routing(rng: np.random.Generator, *, dp_aware: bool) -> Routing:
    """Thresholds that matter, and trees that are soon too large."""
    return Routing(
        float(rng.uniform(0, 1)),
        float(rng.integers(0, 6)),
        float(rng.uniform(1, 2)),
        int(rng.choice([0, 40, 200, 1 << 24])),
        float(rng.choice([0.0, 0.5, 5.0])),
        dp_aware or bool(rng.random() < 0.7),
        str(rng.choice(get_args(DecodePolicy))),  # type: ignore[arg-type]
        str(rng.choice(get_args(RankPolicy))),  # type: ignore[arg-type]
    )


def with_conversations(rng: np.random.Generator, workload: Workload) -> Workload:
    """Users think; of an open loop every third request or so is the next turn of an earlier one.

    It has that one's input and answer, and a new message.
    """
    requests, block = workload.requests, workload.requests.block_tokens
    count, offsets = len(requests), requests.block_offsets
    think_s = rng.exponential(rng.choice([0.5, 3.0]), count) * (rng.random(count) < 0.7)
    if workload.concurrency is not None:
        return replace(workload, think_s=think_s)
    paths = [requests.block_ids[offsets[i] : offsets[i + 1]].tolist() for i in range(count)]
    inputs, fresh = requests.input_tokens.copy(), int(requests.block_ids.max(initial=-1)) + 1
    follows = np.full(count, -1)
    for later in range(1, count):
        earlier = int(rng.integers(0, later))
        if rng.random() < 0.35 and earlier not in follows and inputs[earlier] < 60:
            follows[later] = earlier
            inputs[later] = inputs[earlier] + requests.output_tokens[earlier] + rng.integers(0, 9)
            more = inputs[later] // block - len(paths[earlier])
            paths[later] = paths[earlier] + list(range(fresh, fresh + more))
            fresh += more
    ids = np.array([key for path in paths for key in path], np.int64)
    offsets = np.concatenate(([0], np.cumsum([len(path) for path in paths])))
    longer = replace(requests, input_tokens=inputs, block_ids=ids, block_offsets=offsets)
    return replace(workload, requests=longer, think_s=think_s, follows=follows)


def with_caching(rng: np.random.Generator, deployment: Deployment) -> Deployment:
    """The same deployment with another eviction."""
    return replace(deployment, caching=Caching(str(rng.choice(["lru", "lfu", "fifo"]))))  # type: ignore[arg-type]


def with_grids(rng: np.random.Generator, step: CompiledStep) -> CompiledStep:
    """The step with attention from grids: decode by index, prefill between knots, over C and Q."""
    s, decode, prefill = StepSymbols(), sp.Function("decode"), sp.Function("prefill")
    grids = {
        "decode": Grid(rng.uniform(0.1, 1.0, (24, 60))),
        "prefill": Grid(rng.uniform(0.1, 1.0, (3, 2)), np.array([0.0, 3.0, 9.0]), np.array([1.0, 50.0])),
    }
    return replace(
        step,
        decode_seconds=lower([decode(s.b, sp.ceiling(s.K / s.b / 2))], (s.b, s.K), grids),
        prefill_seconds=lower(
            [sp.Max(sp.Rational(1, 10), prefill(s.C, sp.sqrt(s.Q)))], (s.p, s.A, s.C, s.Q), grids
        ),
        granule=int(rng.integers(1, 8)),
    )


def random_service(rng: np.random.Generator, make, pools, gridded: bool = False) -> ServiceModel:
    services = []
    for pool in pools:
        law = {name: float(rng.uniform(0.001, 0.02)) for name in ("n", "N", "h", "K", "p", "A")}
        capacity = int(rng.integers(20, 200))
        service = make.service(pool, capacity, int(rng.choice([1, 2, 5])), 0.05, **law)
        services.append(replace(service, step=with_grids(rng, service.step)) if gridded else service)
    link = KvTransfer(
        float(rng.choice([0.0, 0.3])),
        float(rng.uniform(0.5, 2)),
        float(rng.uniform(1, 50)),
        float(rng.uniform(1, 50)),
        int(rng.choice([1, 2, 3, 40])),
        random_near(rng),
        RackLink(int(rng.choice([8, 16])), float(rng.uniform(1, 50)), 0.4) if rng.random() < 0.5 else None,
    )
    return ServiceModel(tuple(services), link)


def random_near(rng: np.random.Generator) -> NearLink | None:
    """A node of one to eight accelerators; pools are from one to eighteen. Seldom none is shared."""
    if rng.random() < 0.1:
        return None
    rates = float(rng.uniform(1, 90)), float(rng.uniform(1, 90))
    return NearLink(int(rng.choice([1, 2, 4, 8])), float(rng.choice([0.0, 0.1])), *rates)


def with_hosts(rng: np.random.Generator, service: ServiceModel) -> ServiceModel:
    """The same service with host tiers, most of them too small for everything."""
    pools = [
        replace(
            pool,
            host=HostTier(
                int(rng.integers(0, 300)),
                float(rng.uniform(0.5, 2)),
                float(rng.uniform(5, 80)),
                float(rng.choice([0.0, 0.2])),
            ),
        )
        for pool in service.pools
    ]
    return replace(service, pools=tuple(pools))


def python_law(step: CompiledStep):
    arrays, scratch = step.arrays(), step.scratch()
    return lambda *state: step_seconds(arrays, scratch, *state)


def with_speculation(
    rng: np.random.Generator, make, deployment: Deployment, service: ServiceModel
) -> tuple[Deployment, ServiceModel]:
    """The same deployment, speculating in the pool that decodes, mostly with a draft that costs something."""
    chances = rng.choice([0.0, 0.3, 0.8, 1.0], int(rng.integers(1, 5)))
    last = deployment.pools[-1]
    if last.scheduling.growth is not None:
        growth = replace(last.scheduling.growth, spare_page=False)
        last = replace(last, scheduling=replace(last.scheduling, growth=growth))
    last = replace(last, speculation=Speculation(tuple(chances.tolist())))
    deployment = replace(deployment, pools=(*deployment.pools[:-1], last))
    drafted, pools = rng.random() < 0.8, []
    for pool, its_service in zip(deployment.pools, service.pools, strict=True):
        law = {name: float(rng.uniform(0.001, 0.02)) for name in ("n", "N", "h", "K", "p", "A")}
        step = make.compiled(pool, 0.05, **law)
        draft = make.compiled(replace(pool, speculation=None), 0.02, n=0.003, K=1e-3, h=0.01, p=1e-3)
        pools.append(replace(its_service, step=step, draft=draft if drafted else None))
    return deployment, replace(service, pools=tuple(pools))


def run_twin(
    load_helper,
    workload: Workload,
    deployment: Deployment,
    service: ServiceModel,
    seed: int,
    stream: int = 0,
):
    link = service.transfer
    for part in ("ranks", "arrivals", "links", "places", "speculation", "router"):
        load_helper(f"twin_{part}")
    twin = load_helper("twin").Twin(
        workload,
        deployment,
        tuple(python_law(pool.step) for pool in service.pools),
        tuple(pool.kv_capacity_tokens for pool in service.pools),
        tuple(pool.page_tokens for pool in service.pools),
        link,
        seed,
        tuple(pool.step.granule for pool in service.pools),
        tuple(pool.host for pool in service.pools),
        tuple(python_law(pool.draft) if pool.draft else None for pool in service.pools),
        stream,
    )
    twin.run()
    return twin


def assert_equal(run: Run, twin, case: int) -> None:
    for name, field in (
        ("arrival", "arrival_s"),
        ("admitted", "admitted_s"),
        ("first", "first_token_s"),
        ("finish", "finish_s"),
    ):
        theirs = np.array([getattr(request, name) for request in twin.requests])
        np.testing.assert_allclose(
            run.column(field), theirs, rtol=1e-9, atol=1e-9, err_msg=f"case {case}: {field}"
        )
    assert [r.retractions for r in twin.requests] == run.column("retractions").tolist()
    assert twin.turned_away == run.state.world["turned_away"][0]
    assert [r.rejected for r in twin.requests] == (~run.finished).tolist()
    served = run.finished
    assert [r.hit for r in twin.requests] == (run.hit_tokens * served).tolist()
    assert [r.rank.index for r in twin.requests if r.rank] == run.column("rank")[served].tolist()
    assert [r.host_hit for r in twin.requests] == (run.host_hit_tokens * served).tolist()
    assert [rank.host_peak for rank in twin.ranks] == run.state.ranks["host_peak_pages"].tolist()
    assert [rank.peak for rank in twin.ranks] == run.state.ranks["peak_pages"].tolist()
    np.testing.assert_allclose(
        [e.busy for e in twin.engines], run.state.totals[:, k.BUSY_S], rtol=1e-9, atol=1e-9
    )
    assert [e.steps for e in twin.engines] == run.state.totals[:, k.STEPS].tolist()
    latencies = [x for r in twin.requests for x in r.latencies]
    np.testing.assert_allclose(sum(latencies), run.state.world["itl_s"][0], rtol=1e-9, atol=1e-9)
    edges = (np.arange(k.ITL_BINS + 1) + k.ITL_FIRST_BIN << k.ITL_BIN_BITS).view(np.float64)
    bins = np.repeat(np.arange(k.ITL_BINS), run.state.itl)
    theirs = np.maximum(np.sort(latencies), k.ITL_FLOOR_S)
    assert np.all((edges[bins] <= theirs * (1 + 1e-9)) & (theirs <= edges[bins + 1] * (1 + 1e-9)))
