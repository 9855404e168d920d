"""Settings of the engines go from the problem file to the deployments that are simulated, none is lost."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from sympy import Float

from llmopt_calibration.expert_load import group_shares
from llmopt_calibration.memory import memory_law
from llmopt_calibration.step import step_law
from llmopt_calibration.transfer import host_load_law
from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.errors import LaunchError
from llmopt_optimizer.formulation.build import surroundings
from llmopt_optimizer.formulation.deployments import with_settings
from llmopt_optimizer.formulation.disaggregated import Transfer
from llmopt_optimizer.launch.installation import installation
from llmopt_optimizer.loop.service import service_model, workbench
from llmopt_optimizer.scenario import resolve
from llmopt_problems import ProblemError, load
from llmopt_problems.deployment import Caching, KvGrowth, Layout, Routing, Scheduling, Transfers
from llmopt_problems.experts import ExpertUse
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import ExpertGroups, RackLink, simulate

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


def test_the_use_of_experts_reaches_formulas_simulation_and_memory() -> None:
    """The pool's law is that of the formulas at its layout, and its run draws from the same shares."""
    skewed = "search.experts={popularity: zipf, zipf_exponent: 0.5, rebalanced: true, redundant: 32}"
    problem = load("deepseek_r1_h200", [skewed])
    scenario, use = resolve(problem), ExpertUse("zipf", 0.5, (), True, 32)
    assert scenario.experts == use
    deployment = parse_deployment("tp=8,ep=8,dp=8,instances=1", problem)
    bench = workbench(scenario)
    (pool,) = service_model(bench, deployment).pools
    assert pool.experts == ExpertGroups(tuple(group_shares(use, 256, 8)), 8)
    site, layout = scenario.sites[0], deployment.pools[0].layout
    law = step_law(
        scenario.model, site.accelerator, scenario.precision, layout, site.coefficients, experts=use
    )
    s, tokens = law.symbols, 300
    row = sum(float(op.seconds.subs(s.N, tokens)) for op in law.operators if op.sees == "engine_tokens")
    assert pool.step.engine_tokens[tokens, 0] == pytest.approx(row, rel=1e-9)
    plain = workbench(resolve(load("deepseek_r1_h200"))).memory(deployment.pools[0])
    assert bench.memory(deployment.pools[0]).weights > plain.weights


def test_settings_of_a_cache_that_is_off_are_refused() -> None:
    with pytest.raises(ProblemError, match="prefix cache that is off"):
        load("quickstart", [*CACHE, "search.prefix_cache=false"])


SCHEDULING = """search.scheduling={mixing: prefill_first, order: shortest_prompt, queue_limit: 50,
  window: 5 ms, window_requests: 4, step_overhead: 2 ms, overlapped: false,
  kv_growth: {conservativeness: 0.7, conservativeness_floor: 0.1, watermark: 2 %}}"""
AGGREGATED = "search.modes=[aggregated]"


def test_scheduling_settings_reach_the_deployments() -> None:
    """Of `--deployment` and of assignments alike."""
    problem = load("quickstart", [AGGREGATED, SCHEDULING])
    expected = Scheduling(
        "prefill_first",
        "shortest_prompt",
        (),
        50,
        0.005,
        4,
        0.002,
        False,
        KvGrowth(0.7, 0.1, 600, 0.02, False),
    )
    assert parse_deployment("tp=4", problem).pools[0].scheduling == expected
    bare = replace(parse_deployment("tp=4", load("quickstart")), caching=Caching())
    assert with_settings(bare, problem).pools[0].scheduling == expected


def test_a_decode_pool_rejects_nothing() -> None:
    problem = load("quickstart", ["search.scheduling={queue_limit: 50, step_overhead: 1 ms}"])
    prefill, decode = parse_deployment("prefill.tp=2,decode.tp=2", problem).pools
    assert (prefill.scheduling.queue_limit, decode.scheduling.queue_limit) == (50, None)
    assert prefill.scheduling.step_overhead_s == decode.scheduling.step_overhead_s == 0.001


CLASSES = """traffic={arrivals: {process: poisson, rate: 1 req/s}, classes: [
  {name: batch, share: 0.5, input_tokens: {distribution: constant, value: 500},
   output_tokens: {distribution: constant, value: 50}},
  {name: chat, share: 0.5, input_tokens: {distribution: constant, value: 500},
   output_tokens: {distribution: constant, value: 50}}]}"""


def test_priorities_are_names_of_classes() -> None:
    wanted = "search.scheduling={order: priority, priorities: [chat, batch]}"
    problem = load("quickstart", [CLASSES, wanted])
    assert parse_deployment("tp=4", problem).pools[0].scheduling.priorities == (1, 0)


def test_planning_ahead_reaches_simulation_and_formulas() -> None:
    for chosen in (False, True):
        problem = load("quickstart", [f"search.scheduling.plan_ahead={str(chosen).lower()}"])
        assert parse_deployment("tp=4", problem).pools[0].scheduling.plan_ahead == chosen
        assert surroundings(resolve(problem)).plan_ahead == chosen


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ([SCHEDULING], "growth-disaggregated"),
        ([CLASSES, "search.scheduling={order: priority, priorities: [chat]}"], "priorities-classes"),
        ([CLASSES, "search.scheduling={priorities: [chat, batch]}"], "priorities-unused"),
        (["search.scheduling={window_requests: 4}"], "window-missing"),
        (
            [AGGREGATED, "search.scheduling.kv_growth={conservativeness: 0.2, conservativeness_floor: 0.5}"],
            "growth-floor",
        ),
        (["search.scheduling.step_overhead=2"], "unit"),
        (["search.scheduling={plan_ahead: true, overlapped: false}"], "plan-ahead-overlapped"),
    ],
)
def test_scheduling_that_cannot_be(overrides: list[str], rule: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load("quickstart", overrides)
    assert any(rule in fault.rule for fault in caught.value.faults)


def test_routing_settings_reach_the_deployment() -> None:
    changes = ["search.routing={cache_threshold: 50%, eviction_interval: 30 s, decode: random}"]
    deployment = parse_deployment("prefill.tp=4,decode.tp=4", load("quickstart", changes))
    assert deployment.routing == Routing(cache_threshold=0.5, eviction_interval_s=30.0, decode="random")
    shown = asdict(deployment)  # the long form of result.json, which cannot say speculation yet
    shown["pools"] = [{key: pool[key] for key in pool if key != "speculation"} for pool in shown["pools"]]
    assert parse_deployment(json.dumps(shown), load("quickstart")) == deployment


def test_a_router_that_chooses_among_ranks_must_see_them() -> None:
    with pytest.raises(ProblemError, match="chooses among ranks"):
        load("quickstart", ["search.router=kv_aware", "search.routing={dp_aware: false}"])
    with pytest.raises(ProblemError, match="no instance balances"):
        load("quickstart", ["search.routing={dp_balance: minimum_tokens}"])
    balanced = load("quickstart", ["search.routing={dp_aware: false, dp_balance: minimum_tokens}"])
    assert parse_deployment("tp=4", balanced).routing == Routing(dp_aware=False, dp_balance="minimum_tokens")


@pytest.mark.parametrize(
    ("setting", "said"), [("mode: per_layer", "per_layer"), ("placement: paired", "kv_transfer.placement")]
)
def test_launch_files_refuse_what_they_cannot_say(setting: str, said: str) -> None:
    problem = load("quickstart", [f"search.kv_transfer={{{setting}}}"])
    with pytest.raises(LaunchError, match=said):
        installation(resolve(problem), parse_deployment("prefill.tp=4,decode.tp=4", problem))


SENT = "search.kv_transfer={mode: per_layer, overhead: 2 ms, placement: paired}"
RACKS = "hardware.racks={gpus: 64, bandwidth: 400 GB/s, latency: 5 ms}"


def test_transfer_settings_reach_the_simulator() -> None:
    problem = load("quickstart", [SENT, RACKS])
    deployment = parse_deployment("prefill.tp=4,decode.tp=4", problem)
    assert deployment.transfers == Transfers("per_layer", 0.002, "paired")
    assert parse_deployment("tp=4", problem).transfers == Transfers()
    scenario = resolve(problem)
    transfer = service_model(workbench(scenario), deployment).transfer
    assert transfer is not None
    assert transfer.layers == scenario.model.layer_count == 80
    assert transfer.rack == RackLink(64, 400e9, 0.005)
    assert transfer.near is not None
    assert transfer.near.gpus == 8
    ratio = (
        scenario.sites[0].accelerator.scale_up.bytes_per_s / scenario.sites[0].accelerator.network.bytes_per_s
    )
    assert transfer.near.sender_bytes_per_s / transfer.sender_bytes_per_s == pytest.approx(ratio)
    assert transfer.near.latency_s < transfer.latency_s


@pytest.mark.parametrize("network", ["InfiniBand-NDR", "Ethernet-100"])
@pytest.mark.parametrize("mode", ["end", "per_layer"])
def test_the_transfer_of_a_lone_request_is_what_the_formula_says(network: str, mode: str) -> None:
    """One chunk, so that the last layer's part is exact; a fast link and one that is slower than prefill."""
    settings = [f"search.kv_transfer={{mode: {mode}, overhead: 2 ms}}"]
    problem = load("quickstart", [*settings, f"hardware.accelerators.0.network={network}"])
    text = "prefill.tp=1,prefill.chunk_tokens=8192,prefill.batch_cap=8,decode.tp=2,decode.batch_cap=8"
    deployment = parse_deployment(text, problem)
    service = service_model(workbench(resolve(problem)), deployment)
    one = np.array([4000])
    requests = Requests(np.zeros(1), one, one, np.zeros(2, np.int64), np.zeros(0, np.int64), 1)
    run = simulate(Workload(requests), deployment, service)
    prefill_s, link = float(run.column("prefilled_s")[0]), service.transfer
    assert link is not None
    moved = 4000 * link.bytes_per_token
    send_s, receive_s = Float(moved / link.sender_bytes_per_s), Float(moved / link.receiver_bytes_per_s)
    layers = link.layers if mode == "per_layer" else 1
    formula = Transfer(link.latency_s + 0.002, send_s, receive_s, layers)
    lead_s = Float(prefill_s - prefill_s / layers)
    exposed_s = float(run.column("first_token_s")[0]) - prefill_s
    assert exposed_s == pytest.approx(float(formula.after_prefill_s(send_s, receive_s, lead_s)), rel=1e-6)


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ([AGGREGATED, SENT], "kv-transfer-unused"),
        (["search.kv_transfer={mode: later}"], "choice"),
        (["search.kv_transfer={overhead: 2}"], "unit"),
        (["search.kv_transfer={placement: near}"], "choice"),
        (["hardware.racks={gpus: 64}"], "missing"),
        (["hardware.racks={gpus: 64, bandwidth: 400}"], "unit"),
    ],
)
def test_transfers_that_cannot_be(overrides: list[str], rule: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load("quickstart", overrides)
    assert any(rule in fault.rule for fault in caught.value.faults)
