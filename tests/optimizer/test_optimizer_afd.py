"""Attention–FFN disaggregation from the problem file to simulation: layouts, laws, memory, named refusals."""

from __future__ import annotations

import numpy as np
import pytest

from llmopt_calibration.step.afd import afd_step_law
from llmopt_calibration.step.symbols import afd_layout
from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.errors import DeploymentError, LaunchError
from llmopt_optimizer.formulation.deployments import decision_values
from llmopt_optimizer.launch.installation import installation
from llmopt_optimizer.loop.service import Workbench, service_model, workbench
from llmopt_optimizer.output.formatting import layout_text
from llmopt_optimizer.scenario import resolve
from llmopt_problems import ProblemError, load
from llmopt_problems.traffic import sample
from llmopt_simulator import metrics, simulate

DEPLOYMENT = (
    "prefill.tp=8,prefill.ep=8,prefill.dp=8,prefill.instances=4,decode.tp=8,decode.dp=8,decode.ffn=16,"
    "decode.micro_batches=2,decode.batch_cap=64"
)


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return workbench(resolve(load("afd")))


def test_a_decode_pool_is_simulated_by_the_law_of_its_layout(bench: Workbench) -> None:
    deployment = parse_deployment(DEPLOYMENT, load("afd"))
    decode = deployment.pool("decode")
    assert (decode.layout.ffn, decode.layout.micro_batches) == (16, 2)
    assert deployment.gpus == 4 * 8 + 8 + 16
    assert layout_text(decode) == "TP 8 · DP 8 · FFN 16 · micro-batches 2"
    assert decision_values(decode)["ffn"] == 16
    service = service_model(bench, deployment)
    site, scenario = bench.scenario.sites[0], bench.scenario
    parts = (scenario.model, site.accelerator, scenario.precision)
    law = afd_step_law(*parts, afd_layout(decode.layout), site.coefficients)
    (layers,) = (op for op in law.operators if op.sees == "decode")
    state = {law.symbols.b: 40, law.symbols.K: 40 * 2500}
    expected = float(layers.seconds.subs(state))
    assert service.pools[1].step.decode_seconds.rows([[40, 40 * 2500]])[0, 0] == pytest.approx(expected)
    run = simulate(sample(load("afd").traffic, 150, 1), deployment, service, 1)
    assert np.all(run.finished)
    assert metrics(run)["tpot_mean_s"] > expected / 4


def test_experts_leave_room_for_sequences(bench: Workbench) -> None:
    apart = parse_deployment(DEPLOYMENT, load("afd")).pool("decode")
    whole = parse_deployment(DEPLOYMENT.replace("ffn=16,decode.micro_batches=2", "ep=8"), load("afd"))
    tokens = [bench.memory(pool).kv_capacity_tokens for pool in (apart, whole.pool("decode"))]
    assert tokens[0] > 2 * tokens[1]


def test_experts_that_do_not_fit_are_refused(bench: Workbench) -> None:
    few = parse_deployment(DEPLOYMENT.replace("ffn=16", "ffn=4"), load("afd"))
    with pytest.raises(DeploymentError, match="do not fit 4 H200-SXM: raise ffn"):
        service_model(bench, few)


def test_other_roles_are_refused(bench: Workbench) -> None:
    wrong = parse_deployment("prefill.tp=8,prefill.ffn=16,decode.tp=8", load("afd"))
    with pytest.raises(DeploymentError, match="only decode"):
        service_model(bench, wrong)


def test_no_engine_launches_it(bench: Workbench) -> None:
    with pytest.raises(LaunchError, match="no engine with an inventory"):
        installation(bench.scenario, parse_deployment(DEPLOYMENT, load("afd")))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("search.modes=[aggregated]", "afd-disaggregated"),
        ("search.speculation={draft_tokens: 1, acceptance_length: 1.5}", "afd-speculation"),
        ("search.afd={attention_gpus: 8}", "missing"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: str, rule: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load("afd", [change])
    assert rule in caught.value.faults[0].rule
