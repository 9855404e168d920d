"""`llmopt launch`: every flag is one that the engine version knows, and every limit fits the memory model."""

from __future__ import annotations

import random
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from launch_cases import cases, scenario

from llmopt_optimizer.errors import DeploymentError, LaunchError
from llmopt_optimizer.launch.installation import installation
from llmopt_optimizer.launch.inventory import Inventory, inventory, versions
from llmopt_optimizer.launch.targets import Choices, Launch, Target, launch
from llmopt_optimizer.loop.service import pool_memory
from llmopt_optimizer.scenario import Scenario
from llmopt_problems.deployment import Caching, Deployment, Layout, PoolDeployment, Routing, Scheduling
from llmopt_problems.imports import read_draft

TARGETS: tuple[Target, ...] = ("sglang", "vllm", "dynamo", "llm-d", "kubernetes")
DEFAULT = Scheduling()
IMPOSSIBLE = (
    "spreads experts over|no prefill-first|no shortest-prompt|no schedule policy|cannot span|"
    "evicts by lru, not by lfu|does not start SGLang's router"
)


def aggregated(layout: Layout, scheduling: Scheduling = DEFAULT, instances: int = 2) -> Deployment:
    pool = PoolDeployment("serve", "H200-SXM", layout, instances, 2048, 64, scheduling)
    return Deployment("aggregated", (pool,))


def made(where: Scenario, deployment: Deployment, target: Target, version: str | None = None) -> Launch:
    return launch(where, deployment, Choices(target, version), "a test")


def commands(found: Launch) -> Iterator[list[str]]:
    """Every engine or router command in the text of a launch file, read back without our own code."""
    if found.file_name == "launch.sh":
        joined = re.sub(r"\\\n\s*", " ", found.text)
        yield from (shlex.split(line) for line in joined.splitlines() if line.strip().startswith("exec "))
    else:
        for document in yaml.safe_load_all(found.text):
            yield from _containers(document)


def _containers(node: object) -> Iterator[list[str]]:
    if isinstance(node, dict):
        if "args" in node:
            words = [str(word) for word in [*node.get("command", []), *node["args"]]]
            lines = [words[2]] if words[:2] == ["/bin/bash", "-c"] else []
            yield from (shlex.split(part) for line in lines for part in re.findall(r"exec ([^;]*)", line))
            if not lines:
                yield words
        for child in node.values():
            yield from _containers(child)
    elif isinstance(node, list):
        for child in node:
            yield from _containers(child)


def options(command: list[str]) -> list[str]:
    """The options after the program and its positional arguments, slots made numbers."""
    start = next((i for i, word in enumerate(command) if word.startswith("--")), len(command))
    slots = re.compile(r"^\$[({]?\w+[)}]?")
    return [slots.sub("1", word) for word in command[start:] if word != "${workers[@]}"]


def known(found: Launch, command: list[str]) -> Inventory:
    if "sglang_router.launch_router" in command:
        return inventory("sglang_router")
    return inventory(found.engine, found.version)


def _impossible(reason: str) -> bool:
    """False, after asserting that the engine really cannot do it: an unknown flag would be our mistake."""
    assert re.search(IMPOSSIBLE, reason), reason
    return False


def check(where: Scenario, deployment: Deployment, target: Target, version: str | None) -> bool:
    """Whether the engine can run it; asserts that what is emitted is known and fits."""
    try:
        found = made(where, deployment, target, version)
    except LaunchError as error:
        return _impossible(str(error))
    servers = 0
    for command in commands(found):
        if "dynamo.frontend" in command:
            continue
        servers += 1
        assert known(found, command).problems(options(command)) == (), command
    assert servers >= len(deployment.pools)
    for pool, planned in zip(deployment.pools, found.plan.pools, strict=True):
        memory = pool_memory(where, pool)
        assert planned.context_tokens <= min(where.model.max_context_tokens, memory.kv_capacity_tokens)
        assert planned.kv_tokens <= memory.kv_capacity_tokens
        assert planned.static_fraction <= planned.memory_fraction
    return True


def random_check(count: int, seed: int) -> int:
    draw, launched = random.Random(seed), 0
    for where, deployment in cases(count, seed):
        target = draw.choice(TARGETS)
        engine = {"sglang": "sglang", "vllm": "vllm", "llm-d": "vllm"}.get(target, where.problem.engine)
        version = draw.choice(versions("sglang" if engine == "sglang" else "vllm"))
        launched += check(where, deployment, target, version)
    return launched


def test_emitted_commands_are_known_to_their_engine() -> None:
    assert random_check(150, seed=1) > 75


@pytest.mark.slow
def test_emitted_commands_of_many_deployments_are_known_to_their_engine() -> None:
    assert random_check(8700, seed=2) >= 5000


@pytest.mark.parametrize(
    ("version", "flag"), [("0.5.10", "--enable-dp-attention"), ("0.5.23", "--attn-dp-size")]
)
def test_attention_dp_is_spelled_as_the_version_has_it(version: str, flag: str) -> None:
    where = scenario("DeepSeek-R1", "native", "H200-SXM", "sglang", "bf16")
    text = made(where, aggregated(Layout(8, 1, 8, 8)), "sglang", version).text
    assert flag in text
    assert ("--dp-size" in text) == (version == "0.5.10")


def test_caps_by_rank_become_the_engines_caps() -> None:
    deployment = aggregated(Layout(8, 1, 8, 4))
    ours = scenario("DeepSeek-R1", "native", "H200-SXM", "sglang", "bf16")
    sglang = made(ours, deployment, "sglang").text
    assert "--max-running-requests 256" in sglang
    assert "--chunked-prefill-size 8192" in sglang
    vllm = made(ours, deployment, "vllm").text
    assert "--max-num-seqs 64" in vllm
    assert "--tensor-parallel-size 2" in vllm
    assert "--data-parallel-size 4" in vllm


def run_script(text: str, folder: Path, case: str, **variables: str) -> list[list[str]]:
    """The arguments with which `launch.sh CASE` starts programs, caught by stand-ins on the PATH."""
    (folder / "launch.sh").write_text(text)
    for program in ("python", "vllm"):
        stand_in = folder / program
        stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$(basename "$0")" "$@"\necho ---\n')
        stand_in.chmod(0o755)
    run = subprocess.run(
        ["bash", str(folder / "launch.sh"), case],
        env={"PATH": f"{folder}:/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return [part.split("\n")[:-1] for part in run.stdout.lstrip().split("---\n") if part]


def test_the_script_runs_in_bash(tmp_path: Path) -> None:
    where = scenario("DeepSeek-R1", "native", "H200-SXM", "sglang", "bf16")
    pools = tuple(
        PoolDeployment(role, "H200-SXM", Layout(16, 1, 16, 8), 1, 2048, 64) for role in ("prefill", "decode")
    )
    deployment = Deployment("disaggregated", pools)
    text = made(where, deployment, "sglang").text
    [started] = run_script(text, tmp_path, "decode", LEADER="10.0.0.7", NODE_RANK="1")
    assert started[:3] == ["python", "-m", "sglang.launch_server"]
    assert started[started.index("--dist-init-addr") + 1] == "10.0.0.7:20000"
    assert started[started.index("--node-rank") + 1] == "1"
    [router] = run_script(
        text, tmp_path, "router", PREFILL_URLS="http://a:1 http://b:2", DECODE_URLS="http://c:3"
    )
    assert router[-8:] == [
        "--prefill",
        "http://a:1",
        "8998",
        "--prefill",
        "http://b:2",
        "8998",
        "--decode",
        "http://c:3",
    ]
    vllm = made(where, deployment, "vllm").text
    [second] = run_script(vllm, tmp_path, "prefill", LEADER="10.0.0.7", NODE_RANK="1")
    assert second[second.index("--data-parallel-start-rank") + 1] == "4"
    assert "--headless" in second


def test_manifests_ask_for_every_accelerator() -> None:
    where = scenario("DeepSeek-R1", "native", "H200-SXM", "vllm", "bf16")
    deployment = aggregated(Layout(16, 1, 16, 8), instances=3)
    workload, service = yaml.safe_load_all(made(where, deployment, "kubernetes").text)
    spec = workload["spec"]
    assert (workload["kind"], spec["replicas"], spec["leaderWorkerTemplate"]["size"]) == (
        "LeaderWorkerSet",
        3,
        2,
    )
    limits = [
        spec["leaderWorkerTemplate"][template]["spec"]["containers"][0]["resources"]["limits"][
            "nvidia.com/gpu"
        ]
        for template in ("leaderTemplate", "workerTemplate")
    ]
    assert limits == ["8", "8"]
    assert service["spec"]["selector"]["leader"] == "true"
    graph = yaml.safe_load(made(where, deployment, "dynamo").text)
    worker = graph["spec"]["components"][1]
    assert (worker["replicas"], worker["multinode"]["nodeCount"]) == (3, 2)


@pytest.mark.parametrize(
    ("layout", "scheduling", "target", "version", "said"),
    [
        (Layout(8, 1, 4, 1), Scheduling(), "vllm", None, "plan with ep 1 or 8"),
        (Layout(8), Scheduling(mixing="prefill_first"), "vllm", None, "prefill-first"),
        (Layout(8), Scheduling(order="shortest_prompt"), "sglang", "0.5.10", "newer --engine-version"),
        (Layout(8), Scheduling(), "sglang", "9.9", "0.5.23"),
    ],
)
def test_what_an_engine_cannot_do_is_said(
    layout: Layout, scheduling: Scheduling, target: Target, version: str | None, said: str
) -> None:
    where = scenario("DeepSeek-R1", "native", "H200-SXM", "sglang", "bf16")
    with pytest.raises(LaunchError, match=re.escape(said)):
        made(where, aggregated(layout, scheduling), target, version)


def test_a_precision_that_no_engine_makes_while_loading_needs_a_checkpoint() -> None:
    where = scenario("Qwen3-32B", "int4", "H200-SXM", "sglang", "bf16")
    with pytest.raises(DeploymentError, match="--model"):
        installation(where, aggregated(Layout(2)))
    plan = installation(where, aggregated(Layout(2)), "Qwen/Qwen3-32B-AWQ")
    assert (plan.checkpoint, plan.quantization) == ("Qwen/Qwen3-32B-AWQ", None)


def test_a_request_longer_than_the_kv_pool_is_refused() -> None:
    where = scenario("Llama-3.3-70B", "fp8", "H100-SXM", "sglang", "bf16")
    tight = PoolDeployment("serve", "H100-SXM", Layout(1), 1, 8192, 16)
    with pytest.raises(DeploymentError):
        installation(where, Deployment("aggregated", (tight,)))


def test_imported_commands_are_the_deployments_that_made_them(tmp_path: Path) -> None:
    """`llmopt import` undoes `llmopt launch`: layout and caps by rank come back."""
    target = tmp_path / "start.sh"
    compared = 0
    for where, deployment in cases(60, 11):
        if deployment.mode != "aggregated":
            continue
        engine: Target = where.problem.engine  # type: ignore[assignment]
        try:
            found = made(where, deployment, engine)
        except LaunchError:
            continue
        (server,) = [words for words in commands(found) if {"serve", "sglang.launch_server"} & set(words)][:1]
        target.write_text(shlex.join(server))
        (pool,) = deployment.pools
        layout, today = pool.layout, dict(pair.split("=") for pair in read_draft(target).today.split(","))
        degrees = {"tp": layout.tp, "pp": layout.pp, "ep": layout.ep, "dp": layout.dp}
        caps = {"chunk_tokens": pool.chunk_tokens, "batch_cap": pool.batch_cap, "instances": 1}
        assert {name: int(value) for name, value in today.items()} == degrees | caps
        compared += 1
    assert compared > 15


KEPT = Caching("lfu", 64, 7.5e9)
ROUTED = Routing(0.5, 10.0, 1.1, 10**6, 30.0, dp_aware=True, decode="random")


def test_settings_of_cache_and_router_are_said() -> None:
    """Gigabytes of one accelerator, characters of the router's tree: the words of the tools."""
    where = scenario("DeepSeek-R1", "native", "H200-SXM", "sglang", "bf16")
    pool = PoolDeployment("serve", "H200-SXM", Layout(tp=8, ep=8, dp=8), 2, 2048, 64)
    deployment = Deployment("aggregated", (pool,), "cache_aware", True, KEPT, ROUTED)
    text = re.sub(r"\s*\\\n\s*", " ", made(where, deployment, "sglang").text)
    for words in (
        *("--page-size 64", "--radix-eviction-policy lfu", "--enable-hierarchical-cache --hicache-size 7"),
        *("--policy cache_aware --dp-aware", "--cache-threshold 0.5", "--balance-abs-threshold 10"),
        *("--balance-rel-threshold 1.1", "--max-tree-size 4000000", "--eviction-interval-secs 30"),
    ):
        assert words in text
    with pytest.raises(LaunchError, match="does not start SGLang's router"):
        made(where, deployment, "dynamo")


def test_the_host_cache_of_vllm_is_that_of_all_workers() -> None:
    where = scenario("Llama-3.1-8B", "bf16", "H200-SXM", "vllm", "bf16")
    pool = PoolDeployment("serve", "H200-SXM", Layout(tp=4), 1, 2048, 64)
    caching = Caching(page_tokens=32, host_bytes=2.0**32)
    text = made(where, Deployment("aggregated", (pool,), caching=caching), "vllm").text
    assert "--block-size 32" in text
    assert "--kv-offloading-size 16.000" in text
    with pytest.raises(LaunchError, match="evicts by lru"):
        made(where, Deployment("aggregated", (pool,), caching=Caching("fifo")), "vllm")


def test_an_own_decode_policy_is_said() -> None:
    where = scenario("Llama-3.1-8B", "bf16", "H200-SXM", "sglang", "bf16")
    pools = tuple(PoolDeployment(role, "H200-SXM", Layout(), 1, 2048, 64) for role in ("prefill", "decode"))
    caching, routing = Caching(host_bytes=64e9), Routing(decode="random")
    found = made(where, Deployment("disaggregated", pools, "random", True, caching, routing), "sglang")
    assert "--decode-policy random" in re.sub(r"\\\n\s*", " ", found.text)
    assert [("--hicache-size" in server.arguments) for server in found.servers.values()] == [True, False]
