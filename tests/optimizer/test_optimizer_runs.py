"""`llmopt simulate` of a run, by flags or by file, and the words of its document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmopt_optimizer.cli.app import app
from llmopt_optimizer.cli.deployment_text import deployment_from
from llmopt_optimizer.formulation.transfers import transfer_law
from llmopt_optimizer.loop import simulate_once
from llmopt_optimizer.loop.single import SingleRun
from llmopt_optimizer.output.files import OutputError
from llmopt_optimizer.output.simulation import read_simulation, simulation_text
from llmopt_optimizer.scenario import resolve
from llmopt_problems import load
from llmopt_problems.deployment import Layout
from llmopt_problems.runs import deployment_document, load_run, problem_of

FLAGS = {
    "model": "Llama-3.1-8B",
    "accelerator": "H100-SXM",
    "rate": "4 req/s",
    "input-tokens": "1000",
    "output-tokens": "100",
    "duration": "100 s",
    "warmup": "10 s",
}
PAIR = (
    *("model=Llama-3.1-8B", "accelerator=H100-SXM", "input_tokens=1000", "output_tokens=100"),
    *("rate=0.01 req/s", "requests=20", "prefill={tp: 2}", "decode={tp: 1, accelerator: H200-SXM}"),
)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["simulate", *arguments], catch_exceptions=False)


def once(*overrides: str) -> SingleRun:
    spec = load_run(None, overrides)
    problem = problem_of(spec)
    return simulate_once(spec, problem, deployment_from(deployment_document(spec), problem))


def test_flags_yaml_and_json_give_the_same_bytes(tmp_path: Path) -> None:
    flags = [part for name, value in FLAGS.items() for part in (f"--{name}", value)]
    keys = {name.replace("-", "_"): value for name, value in FLAGS.items()}
    keys |= {"input_tokens": 1000, "output_tokens": 100}
    (tmp_path / "run.json").write_text(json.dumps(keys))
    (tmp_path / "run.yaml").write_text("".join(f"{name}: {value}\n" for name, value in keys.items()))
    printed = invoke(*flags)
    assert printed.exit_code == 0, printed.stderr
    assert printed.stdout == invoke(str(tmp_path / "run.json")).stdout
    assert printed.stdout == invoke(str(tmp_path / "run.yaml")).stdout
    faster = invoke(str(tmp_path / "run.yaml"), "--rate", "8 req/s")
    assert json.loads(faster.stdout)["throughput"] != json.loads(printed.stdout)["throughput"]


def test_the_document_says_what_was_measured(tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    flags = [part for name, value in FLAGS.items() for part in (f"--{name}", value)]
    assert invoke(*flags, "--out", str(target)).exit_code == 0
    document = read_simulation(target)
    found = document.simulation.metrics
    assert document.throughput.tokens_per_sec == found["throughput_tokens_per_s"].value
    assert document.first_token_latency.p95 == found["ttft_p95_s"].value
    assert document.end_to_end_latency.mean == found["e2e_mean_s"].value
    held = sum(document.memory.by_pool["serve"].values())
    assert document.memory.peak_memory_gb == pytest.approx(held, rel=1e-12)
    assert 0 < document.xpu_utilization <= 1
    # All that arrives is served: rates are those of the load, by the law of large numbers.
    assert document.throughput.requests_per_sec == pytest.approx(4, rel=0.15)
    ratio = document.throughput.tokens_per_sec / document.throughput.requests_per_sec
    assert ratio == pytest.approx(100, rel=0.05)


def test_the_version_before_is_still_read(tmp_path: Path) -> None:
    found = once(*PAIR)
    text = simulation_text(found.simulation, problem_of(load_run(None, PAIR)))
    new = json.loads(text)
    old = {key: new[key] for key in ("llmopt_version", "problem", "simulation")} | {"schema_version": 1}
    (tmp_path / "new.json").write_text(text)
    (tmp_path / "old.json").write_text(json.dumps(old))
    read = [read_simulation(tmp_path / name).model_dump_json() for name in ("old.json", "new.json")]
    assert read[0] == read[1]


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 3}', '{"schema_version": 1}', "\udcff"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    target = tmp_path / "other.json"
    target.write_text(text, errors="surrogateescape")
    with pytest.raises(OutputError, match=r"other\.json"):
        read_simulation(target)


def test_the_transfer_takes_what_the_run_says() -> None:
    """One request at a time: TTFT is prefill, latency, then bytes over the slower end's links."""
    slow, fast = (once(*PAIR, f"transfer={{bandwidth: {rate} GB/s, latency: 3 ms}}") for rate in (1, 100))
    late = once(*PAIR, "transfer={bandwidth: 1 GB/s, latency: 8 ms}")
    kv_bytes = 1000 * 32 * 2 * 8 * 128 * 2  # tokens, layers, K and V, heads, width, bf16
    ttft = [each.run.column("first_token_s") - each.run.column("arrival_s") for each in (slow, fast, late)]
    # The decode side has one accelerator and so one link: it is the slower end.
    assert ttft[0] - ttft[1] == pytest.approx(kv_bytes / 1e9 - kv_bytes / 100e9, rel=1e-6)
    assert ttft[2] - ttft[0] == pytest.approx(5e-3, rel=1e-6)


def test_the_formulas_know_the_link_too() -> None:
    link = "hardware.kv_link={bandwidth: 40 GB/s, latency: 2 ms}"
    scenario = resolve(load("quickstart", [link]))
    law = transfer_law(scenario, scenario.sites[0].accelerator, Layout(tp=4), Layout(tp=2))
    rates = float(law.sender_bytes_per_s), float(law.receiver_bytes_per_s)
    assert (law.latency_s, *rates) == pytest.approx((2e-3, 160e9, 80e9))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "model is missing"),
        (("quickstart",), "--deployment"),
        (("--model", "Llama-3.1-8B", "--rate", "5"), "unit"),
        (("nothing.yaml",), "nothing.yaml"),
        (("--deployment", "tp=4"), "needs the problem"),
        (("quickstart", "--deployment", "tp=4", "--rate", "5 req/s"), "the problem says what rate would"),
        (("--model", "Llama-3.1-8B", "--coefficients", "no_folder"), "no_folder"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], expected: str) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert expected in done.stderr
