"""Files of other tools as problems: what they say is kept, what is assumed labelled, the rest refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmopt_problems import Problem
from llmopt_problems.errors import ProblemError
from llmopt_problems.imports import draft_text, read_draft
from llmopt_problems.imports.draft import Draft, assumed, with_overrides
from llmopt_problems.loading import load_text
from llmopt_problems.traffic import traffic_summary

GIVEN = {
    "hardware.accelerators.0.name": "H200-SXM",
    "traffic.input_tokens": {"distribution": "constant", "value": 300},
    "traffic.output_tokens": {"distribution": "constant", "value": 30},
}
WORKERS = {
    "gemm_quant_mode": "fp8_block",
    "kvcache_quant_mode": "fp8",
    **{"num_gpu_per_worker": [4, 8], "tp_list": [1, 2, 4, 8], "pp_list": [1], "dp_list": [1, 2]},
    "moe_ep_list": [1, 8],
}
EXPERIMENTS = {
    "exps": ["agg", "disagg"],
    "agg": {"serving_mode": "agg", "model_name": "DEEPSEEK_V3", "total_gpus": 8, "system_name": "h200_sxm"}
    | {"isl": 3000, "ttft": 700.0, "config": {"nextn": 1, "worker_config": WORKERS}},
    "disagg": {"serving_mode": "disagg", "model_path": "Qwen/Qwen3-32B", "total_gpus": 16}
    | {"system_name": "b200_sxm", "decode_system_name": "h200_sxm", "backend_name": "vllm"},
}
GAUSSIAN = {"type": "gaussian", "params": {"mean": 128, "std_dev": 32, "min": 16, "max": 512}}
CLIENT = {
    **{"id": "chat", "rate_fraction": 0.5, "arrival": {"process": "gamma", "cv": 2.0}},
    **{"prefix_group": "system", "prefix_length": 72, "input_distribution": GAUSSIAN},
    "output_distribution": {"type": "constant", "params": {"value": 40}},
}
TURNS = {"multi_turn": {"max_rounds": 5, "think_time_us": 500000, "context_growth": "accumulate"}}
BLIS = {
    **{"version": "2", "seed": 42, "aggregate_rate": 12.0, "num_requests": 500},
    "clients": [CLIENT, CLIENT | {"id": "agent", "reasoning": TURNS}],
}
STAGES = {"type": "poisson", "stages": [{"rate": 1, "duration": 30}, {"rate": 4, "duration": 30}]}
SYNTHETIC = {
    **{"type": "synthetic", "input_distribution": {"min": 10, "max": 100, "mean": 50, "std_dev": 10}},
    "output_distribution": {"min": 20, "max": 20, "mean": 20, "std": 1},
}
PERF = {"load": STAGES, "data": SYNTHETIC, "server": {"type": "vllm", "model_name": "Qwen/Qwen3-32B"}}
SGLANG = {
    **{"model_path": "deepseek-ai/DeepSeek-V3", "tp_size": 16, "dp_size": 16, "enable_dp_attention": True},
    **{"ep_size": 16, "chunked_prefill_size": 1024, "max_running_requests": 2048, "internal_states": [{}]},
    **{"disable_radix_cache": True, "enable_mixed_chunk": False, "kv_cache_dtype": "fp8_e4m3"},
    **{"mem_fraction_static": 0.8, "quantization": "fp8", "speculative_algorithm": "EAGLE"},
}
VLLM = {
    **{"model": "/models/Qwen3-32B", "tensor-parallel-size": 4, "max-num-seqs": 128},
    **{"max-num-batched-tokens": 4096, "gpu-memory-utilization": 0.85, "enable-prefix-caching": False},
}


def written(tmp_path: Path, document: object, name: str = "file.yaml") -> Path:
    target = tmp_path / name
    text = document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False)
    target.write_text(text)
    return target


def problem_of(draft: Draft, tmp_path: Path, **given: Any) -> Problem:
    """The problem that the written text of a draft means; values marked assumed are exactly those assumed."""
    draft = with_overrides(draft, given)
    text = draft_text(draft, "file")
    assert text.count("# assumed: ") == len(assumed(draft))
    return load_text(text, "text", tmp_path)


def test_an_experiment_of_aiconfigurator(tmp_path: Path) -> None:
    draft = read_draft(written(tmp_path, EXPERIMENTS))
    problem = problem_of(draft, tmp_path)
    assert problem.model.name == "DeepSeek-V3"
    assert (problem.model.weights, problem.model.kv_cache) == ("fp8_block", "fp8")
    assert [(o.name, o.count) for o in problem.hardware.accelerators] == [("H200-SXM", 8)]
    assert problem.search.modes == ("aggregated",)
    # TP here is the width of a worker: attention TP times attention data parallelism, 4 or 8 accelerators.
    assert problem.search.tp is not None
    assert problem.search.tp.values == (4, 8)
    assert [(each.metric, each.statistic) for each in problem.slo] == [("ttft", "mean"), ("tpot", "mean")]
    assert [each.value for each in problem.slo] == pytest.approx([0.7, 0.04])
    assert {"slo.1.at_most", "traffic.arrivals.rate", "engine"} <= set(assumed(draft))
    assert "traffic.input_tokens" not in assumed(draft)
    assert any("nextn" in each for each in draft.left_out)


def test_another_experiment_has_two_systems(tmp_path: Path) -> None:
    problem = problem_of(read_draft(written(tmp_path, EXPERIMENTS), part="disagg"), tmp_path)
    assert [offer.name for offer in problem.hardware.accelerators] == ["B200", "H200-SXM"]
    assert (problem.engine, problem.search.modes) == ("vllm", ("disaggregated",))


def test_a_blis_workload_keeps_its_load(tmp_path: Path) -> None:
    draft = read_draft(written(tmp_path, BLIS))
    given = {"model.name": "Qwen3-32B", "hardware.accelerators.0.name": "H200-SXM"}
    problem = problem_of(draft, tmp_path, **given)
    summary = traffic_summary(problem.traffic)
    # Half of 12 starts a second are single requests, half are conversations of five: 6 + 30 requests.
    assert summary.request_rate_per_s == pytest.approx(36)
    assert [each.share for each in problem.traffic.classes] == pytest.approx([1 / 6, 5 / 6])
    first = problem.traffic.classes[0]
    assert first.input_tokens.model_dump() == {
        **{"distribution": "normal", "mean": 200.0, "cv": 0.16, "min": 88, "max": 584}
    }
    assert first.shared_prefix is not None
    assert (first.shared_prefix.tokens, first.shared_prefix.groups) == (72, 1)
    assert problem.traffic.classes[1].conversation is not None
    assert (problem.verification.requests, problem.verification.seed) == (500, 42)


def test_blis_users_are_a_closed_loop(tmp_path: Path) -> None:
    user = {key: value for key, value in CLIENT.items() if key not in ("rate_fraction", "arrival")}
    document = {"clients": [user | {"concurrency": 8, "think_time_us": 2_000_000}]}
    given = {"model.name": "Qwen3-32B", "hardware.accelerators.0.name": "H200-SXM"}
    arrivals = problem_of(read_draft(written(tmp_path, document)), tmp_path, **given).traffic.arrivals
    assert arrivals.model_dump() == {
        **{"process": "closed_loop", "concurrency": 8, "think_time_s": 2.0, "think_time_cv": 0.0}
    }


def test_the_heaviest_stage_of_inference_perf(tmp_path: Path) -> None:
    draft = read_draft(written(tmp_path, PERF))
    problem = problem_of(draft, tmp_path, **{"hardware.accelerators.0.name": "H200-SXM"})
    assert traffic_summary(problem.traffic).request_rate_per_s == 4
    assert problem.traffic.output_tokens is not None
    assert problem.traffic.output_tokens.model_dump() == {"distribution": "constant", "value": 20}
    assert draft.left_out == ("stage 1",)
    first = problem_of(read_draft(written(tmp_path, PERF), part="1"), tmp_path, **GIVEN)
    assert traffic_summary(first.traffic).request_rate_per_s == 1


def test_a_running_sglang_server(tmp_path: Path) -> None:
    draft = read_draft(written(tmp_path, json.dumps(SGLANG), "info.json"))
    problem = problem_of(draft, tmp_path, **GIVEN)
    assert draft.today == "tp=16,pp=1,ep=16,dp=16,instances=1,chunk_tokens=1024,batch_cap=128"
    assert (problem.engine, problem.model.weights, problem.model.kv_cache) == ("sglang", "native", "fp8")
    assert not problem.search.prefix_cache
    assert problem.search.scheduling.mixing == "prefill_first"
    assert any("speculation" in each for each in draft.left_out)


def test_settings_of_vllm(tmp_path: Path) -> None:
    draft = read_draft(written(tmp_path, VLLM))
    problem = problem_of(draft, tmp_path, **GIVEN)
    assert draft.today == "tp=4,pp=1,ep=1,dp=1,instances=1,chunk_tokens=4096,batch_cap=128"
    assert (problem.search.memory_fraction, problem.search.prefix_cache) == (0.85, False)


@pytest.mark.parametrize(
    ("command", "today"),
    [
        (
            "vllm serve Qwen/Qwen3-32B --tensor-parallel-size=2 --data-parallel-size 4",
            "tp=2,pp=1,ep=1,dp=1,instances=4",
        ),
        (
            "vllm serve deepseek-ai/DeepSeek-V3 -q --data-parallel-size 8 --enable-expert-parallel",
            "tp=8,pp=1,ep=8,dp=8,instances=1",
        ),
        (
            "python -m sglang.launch_server --model-path Qwen/Qwen3-32B --tp 4 \\\n --dp-size 2",
            "tp=4,pp=1,ep=1,dp=1,instances=2",
        ),
    ],
)
def test_commands_are_read(command: str, today: str, tmp_path: Path) -> None:
    assert read_draft(written(tmp_path, command, "start.sh")).today == today


@pytest.mark.parametrize("count_key", ["num_experts", "num_local_experts", "n_routed_experts"])
@pytest.mark.parametrize("nested", [False, True])
def test_configs_of_hugging_face(count_key: str, nested: bool, tmp_path: Path) -> None:
    config = {
        **{"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 32000},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, count_key: 8},
        **{"num_experts_per_tok": 2, "max_position_embeddings": 32768},
    }
    document = {"model_type": "wrapper", "text_config": config} if nested else config
    path = written(tmp_path, json.dumps(document), "config.json")
    written(tmp_path, json.dumps({"quantization": {"quant_algo": "FP8"}}), "hf_quant_config.json")
    problem = problem_of(read_draft(path), tmp_path, **GIVEN)
    assert problem.model.config == path


@pytest.mark.parametrize(
    ("document", "part", "expected"),
    [
        ("[1, 2]", None, "keys and values"),
        ({"colour": "red"}, None, "--format"),
        (EXPERIMENTS, "none", "agg, disagg"),
        (PERF, "3", "1 to 2"),
        (PERF | {"load": {"stages": []}}, None, "stages"),
        (PERF | {"load": STAGES | {"type": "trace"}}, None, "constant or poisson"),
        (BLIS | {"cohorts": [{"id": "x"}]}, None, "cohorts"),
        (BLIS | {"clients": [CLIENT | {"lifecycle": {"windows": []} | {"a": 1}}]}, None, "lifecycle"),
        (BLIS | {"clients": [CLIENT | {"rate_fraction": "much"}]}, None, "rate_fraction"),
        (BLIS | {"clients": [CLIENT, CLIENT | {"concurrency": 3}]}, None, "concurrency"),
        (BLIS | {"clients": [CLIENT | {"input_distribution": {"type": "pareto_lognormal"}}]}, None, "pareto"),
    ],
    ids=str,
)
def test_what_no_problem_can_say_is_refused(
    document: Any, part: str | None, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ProblemError, match=expected):
        read_draft(written(tmp_path, document), part=part)


def test_missing_values_are_asked_for(tmp_path: Path) -> None:
    draft = read_draft(written(tmp_path, SGLANG))
    with pytest.raises(ProblemError) as caught:
        draft_text(draft, "file")
    assert {fault.rule for fault in caught.value.faults} == {"import-missing"}
    assert len(caught.value.faults) == 3
    assert "--set hardware.accelerators.0.name=H100-SXM" in str(caught.value)
    with pytest.raises(ProblemError, match="no entry"):
        with_overrides(draft, {"hardware.accelerators.4.name": "x"})
