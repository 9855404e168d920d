"""Speculative decoding from the problem file to the simulator: laws, memory, and what refuses it."""

from __future__ import annotations

import pytest

from llmopt_calibration.memory import memory_law
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import step_law
from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.loop import solve_problem
from llmopt_optimizer.loop.service import pool_memory, service_model, workbench
from llmopt_optimizer.loop.solve import simulate_problem
from llmopt_optimizer.scenario import resolve
from llmopt_problems import ProblemError, catalog, load
from llmopt_problems.deployment import Layout
from llmopt_problems.models.draft import mtp_head
from llmopt_problems.models.facts import parameter_count
from llmopt_problems.speculation import Speculation, equal_acceptance

MTP = "search.speculation={draft_tokens: 2, acceptance: [0.8, 0.6]}"
LAYOUT = Layout(4)


def law(name: str, verify: int = 1):
    scenario = resolve(load("quickstart"))
    site = scenario.sites[0]
    return step_law(
        catalog.model(name),
        site.accelerator,
        Precision("bf16", "bf16"),
        LAYOUT,
        site.coefficients,
        verify=verify,
    )


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "DeepSeek-V3", "Qwen3.5-397B-A17B"])
def test_a_verifying_pass_attends_with_every_query_and_reads_the_keys_once(name: str) -> None:
    """Of decode attention: k + 1 times the FLOP, not quite twice the bytes at long contexts."""
    for one, four in zip(law(name).operators, law(name, 4).operators, strict=True):
        state = {
            s: 64.0 * (4000 if s.name == "K" else 1)
            for s in one.flops.free_symbols | one.hbm_bytes.free_symbols
        }
        if one.sees != "decode":
            assert four == one
            continue
        if one.flops != 0:
            assert float((four.flops / one.flops).subs(state)) == pytest.approx(4.0)
        growth = float((four.hbm_bytes / one.hbm_bytes).subs(state))
        assert 1.0 <= growth < 4.0
        if one.family.startswith(("attention_decode", "mla_decode")):
            assert growth < 2.0


def test_the_prediction_head_of_deepseek_is_one_layer() -> None:
    """11.5 B parameters beside the shared embedding and output head (README_WEIGHTS of DeepSeek-V3)."""
    model = catalog.model("DeepSeek-V3")
    head = mtp_head(model)
    assert head.layer_count == 1
    assert head.layers[0].ffn == model.layers[-1].ffn
    ends = 2 * model.vocabulary * model.hidden
    assert (parameter_count(head) - ends) / 1e9 == pytest.approx(11.5, rel=0.02)


def test_settings_reach_the_pool_that_decodes() -> None:
    problem = load("quickstart", [MTP])
    (pool,) = parse_deployment("tp=4", problem).pools
    assert pool.speculation == Speculation((0.8, 0.6), "mtp")
    prefill, decode = parse_deployment("prefill.tp=2,decode.tp=2", problem).pools
    assert (prefill.speculation, decode.speculation) == (None, pool.speculation)
    measured = load(
        "quickstart", ["search.speculation={draft: lookup, draft_tokens: 3, acceptance_length: 2.5}"]
    )
    (pool,) = parse_deployment("tp=4", measured).pools
    assert pool.speculation == equal_acceptance(3, 2.5)
    assert pool.speculation is not None
    assert pool.speculation.mean_tokens == pytest.approx(2.5)
    assert (
        parse_deployment("tp=4", load("quickstart", ["search.speculation={draft_tokens: 0}"]))
        .pools[0]
        .speculation
        is None
    )


def test_a_draft_takes_memory_and_time() -> None:
    problem = load("quickstart", [MTP])
    scenario, deployment = resolve(problem), parse_deployment("tp=4", problem)
    (pool,) = deployment.pools
    alone, drafted = pool_memory(scenario, pool), pool_memory(scenario, pool, pool.speculation)
    head = memory_law(mtp_head(scenario.model), scenario.precision, pool.layout)
    kept = sum(float(v) for n, v in head.weights.items() if n not in ("embedding", "lm_head"))
    assert drafted.weights - alone.weights == pytest.approx(kept)
    per_token = alone.kv_bytes_per_token + float(head.kv_bytes_per_token)
    assert drafted.kv_bytes_per_token == pytest.approx(per_token)
    room = alone.kv_capacity_tokens * alone.kv_bytes_per_token - kept
    assert drafted.kv_capacity_tokens == pytest.approx(room / per_token, abs=2)
    (service,) = service_model(workbench(scenario), deployment).pools
    assert service.draft is not None
    assert service.kv_capacity_tokens == drafted.kv_capacity_tokens


def test_speculation_makes_decoding_faster() -> None:
    """At low load a step makes E[n] tokens; the draft and the wider step take some of that back."""
    quick = ["verification.requests=200", "verification.replications=2", "traffic.arrivals.rate=0.5 req/s"]
    plain, drafted = load("quickstart", quick), load("quickstart", [*quick, MTP])
    slow, fast = (simulate_problem(p, parse_deployment("tp=4", p)) for p in (plain, drafted))
    made = fast.frozen["accepted_tokens"].value
    assert made == pytest.approx(1 + 0.8 + 0.48, rel=0.03)
    ratio = slow.metrics["tpot_mean_s"].value / fast.metrics["tpot_mean_s"].value
    assert 1.2 < ratio < made


def test_solve_refuses_what_no_formula_knows() -> None:
    with pytest.raises(ProblemError, match="not optimized") as caught:
        solve_problem(load("quickstart", [MTP]))
    assert caught.value.rule == "speculation-solve"


def test_a_draft_that_the_layout_cannot_run_is_refused() -> None:
    settings = "{draft: Qwen3-8B, draft_tokens: 1, acceptance: [0.5]}"
    problem = load("quickstart", [f"search.speculation={settings}"])
    (pool,) = parse_deployment("tp=5", problem).pools
    with pytest.raises(DeploymentError, match="the draft Qwen3-8B"):
        pool_memory(resolve(problem), pool, pool.speculation)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ("{draft_tokens: 2}", "acceptance-once"),
        ("{draft_tokens: 2, acceptance: [0.5]}", "acceptance-chances"),
        ("{draft_tokens: 2, acceptance_length: 3.5}", "acceptance-length"),
        ("{draft: nobody, draft_tokens: 1, acceptance: [0.5]}", "draft-unknown"),
        ("{draft_tokens: 99, acceptance_length: 3.5}", "less-than-equal"),
    ],
)
def test_speculation_that_cannot_be(settings: str, rule: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load("quickstart", [f"search.speculation={settings}"])
    assert caught.value.rule == rule
