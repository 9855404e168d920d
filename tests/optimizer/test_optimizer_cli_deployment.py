"""Every spelling of `--deployment` means the same deployment."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.cli.outcome import InputError
from llmopt_problems import Problem, load
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment

AGGREGATED = Deployment(
    "aggregated", (PoolDeployment("serve", "H200-SXM", Layout(tp=4), 2, chunk_tokens=2048, batch_cap=64),)
)
DISAGGREGATED = Deployment(
    "disaggregated",
    (
        PoolDeployment("prefill", "H200-SXM", Layout(tp=4), 1, chunk_tokens=8192, batch_cap=256),
        PoolDeployment("decode", "H200-SXM", Layout(tp=8, ep=8, dp=8), 1, chunk_tokens=8192, batch_cap=128),
    ),
)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load("quickstart")


@pytest.mark.parametrize(
    "text",
    [
        "tp=4,instances=2,chunk_tokens=2048,batch_cap=64",
        " tp = 4 , instances=2, chunk_tokens=2048, batch_cap=64, mode=aggregated,router=shortest_queue",
        '{"tp": 4, "instances": 2, "chunk_tokens": 2048, "batch_cap": 64}',
        json.dumps(asdict(AGGREGATED)),
    ],
)
def test_one_pool(text: str, problem: Problem) -> None:
    assert parse_deployment(text, problem) == AGGREGATED


@pytest.mark.parametrize(
    "text",
    [
        "decode.tp=8,decode.ep=8,decode.dp=8,decode.batch_cap=128,prefill.tp=4",
        '{"prefill": {"tp": 4}, "decode": {"tp": 8, "ep": 8, "dp": 8, "batch_cap": 128}}',
        json.dumps(asdict(DISAGGREGATED)),
    ],
)
def test_two_pools(text: str, problem: Problem) -> None:
    assert parse_deployment(text, problem) == DISAGGREGATED


def test_a_file_says_the_same(tmp_path: Path, problem: Problem) -> None:
    path = tmp_path / "deployment.yaml"
    path.write_text("mode: disaggregated\nprefill: {tp: 4}\ndecode: {tp: 8, ep: 8, dp: 8, batch_cap: 128}\n")
    assert parse_deployment(str(path), problem) == DISAGGREGATED


def test_settings_of_the_problem_are_the_defaults(problem: Problem) -> None:
    changed = load("quickstart", ["search.router=cache_aware", "search.chunk_tokens={choices: [512, 1024]}"])
    deployment = parse_deployment("tp=2", changed)
    assert deployment.router == "cache_aware"
    assert deployment.pools[0].chunk_tokens == 1024
    assert parse_deployment("tp=2,prefix_cache=false", problem).prefix_cache is False


def test_the_accelerator_must_be_named_when_several_are_offered() -> None:
    offers = 'hardware.accelerators.1={name: B200, count: 8, price: "5 USD/h"}'
    several = load("quickstart", [offers])
    with pytest.raises(InputError, match=r"pools\.0\.accelerator: Field required"):
        parse_deployment("tp=4", several)
    assert parse_deployment("tp=4,accelerator=B200", several).pools[0].accelerator == "B200"


@pytest.mark.parametrize("text", ["tp=4,tp=8", "", "tp=1e3", "tp=99999999999999999999", "mode=both,tp=4"])
def test_nonsense_is_refused(text: str, problem: Problem) -> None:
    with pytest.raises(InputError):
        parse_deployment(text, problem)
