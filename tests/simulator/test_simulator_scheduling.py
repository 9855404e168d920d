"""Scheduling policies against what each one must do by hand, and every rule that a scheduling can break."""

from __future__ import annotations

import faulthandler
from dataclasses import replace

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_simulator import KvTransfer, Run, ServiceModel, SimulationError, simulate

STEP_S = 0.1


def serve(
    make,
    scheduling: Scheduling,
    arrivals,
    inputs,
    outputs,
    cap: int = 8,
    chunk: int = 100,
    capacity: int = 1000,
    classes=None,
    router: str = "shortest_queue",
) -> Run:
    """One rank whose every step takes a tenth of a second, page size 1."""
    pool = PoolDeployment("serve", "x", Layout(), 1, chunk, cap, scheduling)
    workload = make.workload(arrivals, inputs, outputs)
    if classes is not None:
        requests = replace(workload.requests, class_ids=np.asarray(classes, np.int64))
        workload = replace(workload, requests=requests)
    deployment = Deployment("aggregated", (pool,), router, prefix_cache=False)
    return simulate(workload, deployment, ServiceModel((make.service(pool, capacity, 1, STEP_S),)))


def steps(run: Run, column: str) -> list[int]:
    """A time of every request, in steps."""
    return np.rint(run.column(column) / STEP_S).astype(int).tolist()


def test_prefill_first_stalls_decodes_for_every_chunk(make) -> None:
    """Request 0 decodes from step 1; the second prompt takes steps 2, 3, 4 alone or beside its decodes."""
    arguments = ([0.0, 0.15], [10, 250], [6, 1])
    mixed = serve(make, Scheduling(), *arguments)
    assert steps(mixed, "finish_s") == [6, 5]
    alone = serve(make, Scheduling(mixing="prefill_first"), *arguments)
    assert steps(alone, "first_token_s") == [1, 5]
    assert steps(alone, "finish_s") == [9, 5]
    assert alone.state.world["itl_s"][0] == pytest.approx(0.1 + 0.4 + 3 * 0.1)


def test_prefill_first_gives_prefill_the_whole_budget(make) -> None:
    """Ninety decodes leave ten tokens a step to a mixed prompt of a hundred, and a hundred to one alone."""
    inputs, outputs = [1] * 90 + [100], [50] * 90 + [1]
    arrivals = [0.0] * 90 + [0.15]
    mixed = serve(make, Scheduling(), arrivals, inputs, outputs, 100, capacity=9999)
    alone = serve(make, Scheduling(mixing="prefill_first"), arrivals, inputs, outputs, 100, capacity=9999)
    assert steps(mixed, "first_token_s")[-1] == 12
    assert steps(alone, "first_token_s")[-1] == 3


@pytest.mark.parametrize(
    ("scheduling", "order"),
    [
        (Scheduling(), [0, 1, 2, 3]),
        (Scheduling(order="shortest_prompt"), [0, 2, 3, 1]),
        (Scheduling(order="priority"), [0, 3, 1, 2]),
        (Scheduling(order="priority", priorities=(5, 0)), [0, 1, 2, 3]),
    ],
)
def test_order_of_the_queue(make, scheduling: Scheduling, order: list[int]) -> None:
    run = serve(make, scheduling, [0.0, 0.01, 0.02, 0.03], [50, 90, 20, 30], 2, cap=1, classes=[0, 1, 1, 0])
    assert np.argsort(run.column("admitted_s")).tolist() == order


def test_a_full_queue_rejects_the_next(make) -> None:
    """One in service, two waiting, the fourth and fifth are turned away; the sixth finds a place."""
    run = serve(make, Scheduling(queue_limit=2), [0.0, 0.01, 0.02, 0.03, 0.04, 0.15], 10, 1, cap=1)
    assert run.finished.tolist() == [True, True, True, False, False, True]
    assert run.state.world["turned_away"][0] == 2


def test_erlang_loss(make) -> None:
    """M/D/5/5 loses what Erlang B says (service times do not matter), within 4 deviations."""
    rng, load, servers = np.random.default_rng(4), 4.0, 5
    pool = PoolDeployment("serve", "x", Layout(), servers, 100, 1, Scheduling(queue_limit=0))
    arrivals = np.cumsum(rng.exponential(STEP_S / load, 20_000))
    deployment = Deployment("aggregated", (pool,), "central_queue", prefix_cache=False)
    service = ServiceModel((make.service(pool, 1000, 1, STEP_S),))
    lost = ~simulate(make.workload(arrivals, 10, 1), deployment, service).finished
    terms = np.cumprod([1.0, *(load / n for n in range(1, servers + 1))])
    batches = lost.reshape(20, -1).mean(axis=1)
    error = batches.std(ddof=1) / np.sqrt(20)
    assert abs(batches.mean() - terms[-1] / terms.sum()) < 4.0 * error


def test_a_window_gathers_requests(make) -> None:
    """The first waits half a second and takes the second along; the next three fill a window of three."""
    arrivals = [0.0, 0.4, 2.0, 2.1, 2.2]
    run = serve(make, Scheduling(window_s=0.5, window_requests=3), arrivals, 10, 1)
    np.testing.assert_allclose(run.column("admitted_s"), [0.5, 0.5, 2.2, 2.2, 2.2])
    greedy = serve(make, Scheduling(), arrivals, 10, 1)
    np.testing.assert_allclose(greedy.column("admitted_s"), arrivals)


@pytest.mark.parametrize(("overlapped", "seconds"), [(True, [0.1, 0.3]), (False, [0.15, 0.4])])
def test_scheduling_overhead(make, overlapped: bool, seconds: list[float]) -> None:
    for overhead_s, step_s in zip((0.05, 0.3), seconds, strict=True):
        scheduling = Scheduling(step_overhead_s=overhead_s, overlapped=overlapped)
        run = serve(make, scheduling, [0.0], 10, 4)
        np.testing.assert_allclose(run.column("finish_s"), 4 * step_s)


def test_planning_ahead_keeps_arrivals_waiting_for_the_step_after_next(make) -> None:
    """Request 0 decodes in steps 1 to 6; the next comes during step 1, when step 2 is planned already."""
    arguments = ([0.0, 0.15, 0.95], [10, 10, 10], [6, 1, 1])
    greedy = serve(make, Scheduling(), *arguments)
    ahead = serve(make, Scheduling(plan_ahead=True), *arguments)
    assert steps(greedy, "first_token_s")[1] == 3
    assert steps(ahead, "first_token_s")[1] == 4
    idle_s = [run.column("first_token_s")[2] - 0.95 for run in (greedy, ahead)]
    np.testing.assert_allclose(idle_s, STEP_S)  # an idle engine has planned nothing


def test_planning_ahead_gives_places_and_pages_away_a_step_later(make) -> None:
    """One place, or pages for one request: the next is admitted a step after the one before has ended."""
    for limits in ({"cap": 1}, {"capacity": 19, "cap": 8}):
        arguments = ([0.0, 0.0, 0.0], [10, 10, 10], [2, 2, 2])
        greedy = serve(make, Scheduling(), *arguments, **limits)
        ahead = serve(make, Scheduling(plan_ahead=True), *arguments, **limits)
        assert steps(greedy, "finish_s") == [2, 4, 6]
        assert steps(ahead, "finish_s") == [2, 4, 6]  # nothing else was planned, so it looks again
    busy = ([0.0] * 3, [4, 4, 4], [9, 2, 2])
    assert steps(serve(make, Scheduling(), *busy, cap=2), "finish_s") == [9, 2, 4]
    assert steps(serve(make, Scheduling(plan_ahead=True), *busy, cap=2), "finish_s") == [9, 2, 5]


def test_planning_ahead_needs_overlap(make) -> None:
    with pytest.raises(SimulationError, match="plans ahead and does not overlap"):
        serve(make, Scheduling(plan_ahead=True, overlapped=False), [0.0], 10, 2)


def test_retraction_computes_again_and_goes_first(make) -> None:
    """Two prompts of 4 in 11 pages: step 3 wants a twelfth; the second gives up its 5.

    It had produced two tokens, so its new prompt is 6, which does not fit before the first ends with 9 at
    step 6. It goes before the third, prefills 6 tokens in step 7 and emits its last three by step 9.
    """
    scheduling = Scheduling(growth=KvGrowth(watermark=0.0))
    run = serve(make, scheduling, [0.0, 0.0, 0.05], 4, [6, 5, 1], capacity=11)
    assert run.column("retractions").tolist() == [0, 1, 0]
    assert run.column("prompt_tokens").tolist() == [4, 6, 4]
    assert steps(run, "first_token_s")[:2] == [1, 1]
    assert steps(run, "finish_s")[:2] == [6, 9]
    assert steps(run, "admitted_s")[2] >= 6
    assert run.state.world["recomputed_tokens"][0] == 6


def test_full_conservativeness_never_retracts(make) -> None:
    rng = np.random.default_rng(1)
    arrivals, inputs, outputs = (
        np.sort(rng.uniform(0, 9, 200)),
        rng.integers(1, 40, 200),
        rng.integers(1, 40, 200),
    )
    counts = []
    for share in (0.0, 0.5, 1.0):
        growth = Scheduling(growth=KvGrowth(conservativeness=share))
        run = serve(make, growth, arrivals, inputs, outputs, cap=64, capacity=200)
        assert run.finished.all()
        counts.append(int(run.state.world["retractions"][0]))
    assert counts[0] > counts[1] > counts[2] == 0


def test_a_retraction_makes_admission_more_careful(make) -> None:
    """A share that recovers retracts less than one that stays at the floor."""
    rng = np.random.default_rng(2)
    arguments = np.zeros(200), rng.integers(1, 10, 200), rng.integers(20, 60, 200)
    careless = serve(make, Scheduling(growth=KvGrowth(0.1)), *arguments, cap=64, capacity=300)
    growth = KvGrowth(conservativeness=0.1, conservativeness_floor=0.014, decay_steps=600)
    learning = serve(make, Scheduling(growth=growth), *arguments, cap=64, capacity=300)
    assert learning.state.world["retractions"][0] < careless.state.world["retractions"][0]


@pytest.mark.parametrize(
    ("scheduling", "message"),
    [
        (Scheduling(mixing="sometimes"), "mixing = 'sometimes': choose one of decode_first"),  # type: ignore[arg-type]
        (Scheduling(order="lifo"), "order = 'lifo': choose one of fcfs"),  # type: ignore[arg-type]
        (Scheduling(window_s=-1.0), "window_s = -1.0: give seconds"),
        (Scheduling(window_requests=0), "window_requests = 0: give at least 1"),
        (Scheduling(step_overhead_s=float("nan")), "step_overhead_s = nan: give seconds"),
        (Scheduling(queue_limit=0), "queue_limit = 0: nothing would be served"),
        (Scheduling(growth=KvGrowth(conservativeness=1.5)), "conservativeness = 1.5: give a share"),
        (Scheduling(growth=KvGrowth(0.5, 0.6)), "conservativeness_floor = 0.6: give 0 to 0.5"),
        (Scheduling(growth=KvGrowth(decay_steps=0)), "decay_steps = 0: give at least 1"),
        (Scheduling(growth=KvGrowth(watermark=1.0)), "watermark = 1.0: give a share of the pages"),
        (
            Scheduling(order="priority", priorities=(1,)),
            "priorities has 1 entries and a request is of class 1",
        ),
        (Scheduling(order="priority", priorities=(1, -1)), "priorities holds -1: give 0 or more"),
    ],
)
def test_broken_rules_are_named(make, scheduling: Scheduling, message: str) -> None:
    with pytest.raises(SimulationError) as error:
        serve(make, scheduling, [0.0, 0.0], 4, 4, classes=[0, 1])
    assert message in str(error.value)


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_only_aggregated_pools_grow(make, role: str) -> None:
    pools = [PoolDeployment(r, "x", Layout(), 1, 100, 8) for r in ("prefill", "decode")]  # type: ignore[arg-type]
    growing = [replace(p, scheduling=Scheduling(growth=KvGrowth())) if p.role == role else p for p in pools]
    service = ServiceModel(tuple(make.service(pool) for pool in pools), KvTransfer(0.0, 1.0, 1.0, 1.0))
    with pytest.raises(SimulationError, match=f"the {role} pool grows: it cannot"):
        simulate(make.workload([0.0], 4, 4), Deployment("disaggregated", tuple(growing)), service)


@pytest.mark.parametrize("start", [0, 500])
def test_random_scheduling_keeps_every_invariant(make, load_helper, start: int) -> None:
    """`simulate` checks them; a run that hangs is ended by the watchdog, which names where."""
    cases = load_helper("twin_cases")
    faulthandler.dump_traceback_later(120.0, exit=True)
    try:
        for seed in range(start, start + 500):
            rng = np.random.default_rng((seed, 7))
            workload, deployment = cases.starved(rng, cases.random_workload(rng, 60))
            service = cases.random_service(rng, make, deployment.pools)
            simulate(cases.with_classes(rng, workload), deployment, service, seed)
    finally:
        faulthandler.cancel_dump_traceback_later()
