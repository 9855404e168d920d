"""`llmopt calibrate` from files to coefficients that `llmopt solve` uses, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner
from typer.testing import Result as Run

import llmopt_optimizer.cli.calibration as calibration
from llmopt_calibration.fitting import law_function
from llmopt_calibration.laws import law
from llmopt_optimizer.cli.app import app
from llmopt_optimizer.scenario import resolve
from llmopt_problems import catalog, load
from llmopt_problems.errors import ProblemError

TRUTH = {
    "overhead_s": 5e-6,
    "rank_s": 1e-6,
    "link_efficiency": 0.6,
    "network_efficiency": 0.3,
    "ramp_bytes": 1e5,
}


def run(*arguments: object) -> Run:
    return CliRunner().invoke(app, [str(item) for item in arguments], catch_exceptions=False)


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    """All-reduces of a known law, one of them spoiled."""
    rows = [(2.0**e, r, 1) for e in np.arange(12, 28.5, 0.5) for r in (2, 4, 8)]
    of = law("all_reduce")
    shape = pd.DataFrame(rows, columns=[symbol.name for symbol in of.shape], dtype=float)
    numbers = np.array([TRUTH[item.symbol.name] for item in of.coefficients])
    seconds = law_function(of, catalog.accelerator("H200-SXM"))(shape.to_numpy(float).T, numbers)
    seconds[0] = -1.0
    table = shape.assign(family="all_reduce", time_us=seconds * 1e6, device="NVIDIA H200", tool="own")
    path = tmp_path / "own.csv"
    table.to_csv(path, index=False)
    return path


def test_files_become_coefficients_and_a_report(benchmarks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--accelerator", "h200", "--engine", "vllm", "--out", out, "--date", "2026-01-02")
    done = run("calibrate", benchmarks, *arguments)
    assert done.exit_code == 0, done.output
    assert "all_reduce" in done.stdout
    assert "1 zero or negative" in done.stdout
    content = json.loads((out / "H200-SXM.vllm.json").read_text(encoding="utf-8"))
    entry = content["families"]["all_reduce"]
    assert entry["date"] == "2026-01-02"
    assert entry["coefficients"]["link_efficiency"]["value"] == pytest.approx(0.6, rel=1e-3)
    assert (out / "H200-SXM.vllm.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list(out.iterdir())) == 2


def test_a_problem_uses_the_users_coefficients_and_says_so(benchmarks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (
        run("calibrate", benchmarks, "--accelerator", "H200-SXM", "--out", out, "--no-report").exit_code == 0
    )
    assert [path.name for path in out.iterdir()] == ["H200-SXM.sglang.json"]
    (site,) = resolve(load("quickstart", [f"coefficients={out}"])).sites
    found = site.coefficients.family("all_reduce")
    assert (found.basis, found.source) == ("measured", "own , own.csv")
    assert found.values["link_efficiency"] == pytest.approx(0.6, rel=1e-3)
    simulated = tmp_path / "simulated.json"
    quick = ("--set", "verification.requests=50", "--set", "verification.replications=2", "--out", simulated)
    done = run("simulate", "quickstart", "--deployment", "tp=4", "--coefficients", out, *quick)
    assert done.exit_code == 0, done.output
    assert json.loads(simulated.read_text(encoding="utf-8"))["problem"]["coefficients"] == str(out)


def test_coefficients_that_cannot_be_used_stop_the_solve(tmp_path: Path) -> None:
    (tmp_path / "H200-SXM.sglang.json").write_text("{}")
    with pytest.raises(ProblemError, match="is no coefficient file"):
        resolve(load("quickstart", [f"coefficients={tmp_path}"]))
    done = run("solve", "quickstart", "--coefficients", tmp_path / "absent")
    assert done.exit_code == 2
    assert "no folder at" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say what was measured: --accelerator NAME, or --hardware FILE"),
        (("--accelerator", "H900"), "H900"),
        (
            ("--accelerator", "H200", "--engine", "orca"),
            "engine 'orca' is unknown; choose sglang, vllm, trtllm",
        ),
        (("--accelerator", "H200", "--date", "yesterday"), "--date yesterday"),
        (("--accelerator", "H100"), "measured on NVIDIA H200, not on H100-SXM; calibrate it as H200-SXM"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    benchmarks: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = run("calibrate", benchmarks, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert not list((tmp_path / "out").glob("*"))


def test_a_residual_needs_scikit_learn(
    benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "find_spec", lambda _: None)
    done = run("calibrate", benchmarks, "--accelerator", "H200", "--residual", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "pip install 'llmopt[residual]'" in done.stderr


def test_a_law_that_no_residual_betters_is_named(benchmarks: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (extra residual) is not installed")
    arguments = ("--accelerator", "H200", "--residual", "--no-report", "--out", tmp_path / "out")
    done = run("calibrate", benchmarks, *arguments)
    assert done.exit_code == 0, done.output
    assert "law alone, no residual predicts unseen shapes better: all_reduce" in done.stderr
    content = json.loads((tmp_path / "out/H200-SXM.sglang.json").read_text())
    assert "residual" not in content["families"]["all_reduce"]


def test_results_of_serving_benchmarks_are_validated(tmp_path: Path) -> None:
    result = {
        "backend": "sglang",
        "dataset_name": "random",
        "max_concurrency": 4,
        "random_input_len": 128,
        "random_output_len": 32,
        "completed": 40,
        "total_input_tokens": 40 * 115,
        "total_output_tokens": 40 * 29,
        "mean_ttft_ms": 30.0,
        "mean_tpot_ms": 6.0,
    }
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps(result))
    out = tmp_path / "predicted.csv"
    server = "system=H200-SXM,tp=1,model_path=Llama-3.1-8B,precision=bf16"
    done = run("validate", path, "--out", out, "--server", server, "--processes", 1)
    assert done.exit_code == 0, done.output
    (row,) = pd.read_csv(out).to_dict("records")
    assert 1.0 < row["tpot_ms_predicted"] < 60.0
    unsaid = run("validate", path, "--out", out)
    assert unsaid.exit_code == 2
    assert "the server needs its accelerator" in unsaid.stderr


def test_too_few_shapes_are_said(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("family,bytes_moved,time_us\nelementwise,1e6,5\nelementwise,1e7,8\n")
    done = run("calibrate", path, "--accelerator", "H200", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "not fitted: elementwise: " in done.stderr
    assert "no family of H200-SXM has enough shapes" in done.stderr


def test_hardware_of_ones_own_is_described_in_a_file(benchmarks: Path, tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(
        "name: Own-Board\npeak_flops_per_s: {bf16: 9.9e+14}\nhbm_bytes_per_s: 4.8e+12\nsm_count: 132\n"
        "scale_up: NVLink4\n"
    )
    csv = tmp_path / "board.csv"
    csv.write_text(benchmarks.read_text().replace("NVIDIA H200", "Own-Board"))
    done = run("calibrate", csv, "--hardware", board, "--out", tmp_path / "out", "--no-report")
    assert done.exit_code == 0, done.output
    entry = json.loads((tmp_path / "out/Own-Board.sglang.json").read_text())["families"]["all_reduce"]
    assert entry["coefficients"]["link_efficiency"]["value"] == pytest.approx(0.6, rel=1e-3)


def test_several_accelerators_are_each_predicted_by_the_others(benchmarks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    text = benchmarks.read_text()
    (folder / "a.csv").write_text(text)
    (folder / "b.csv").write_text(text.replace("NVIDIA H200", "NVIDIA H100 80GB HBM3"))
    both = ("--accelerator", "H100", "--accelerator", "H200")
    done = run("calibrate", folder, *both, "--out", tmp_path / "out", "--no-report")
    assert done.exit_code == 0, done.output
    assert "predicted by another accelerator" in done.stdout
    content = json.loads((tmp_path / "out/transfer.sglang.json").read_text())
    # The link is the same in both data sheets, and so are the times.
    assert content["families"]["all_reduce"]["worst_error"] < 1e-3
    assert {path.name for path in (tmp_path / "out").glob("H*")} == {
        "H100-SXM.sglang.json",
        "H200-SXM.sglang.json",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x", "missing keys: peak_flops_per_s, hbm_bytes_per_s, sm_count"),
        ("{", "is no YAML"),
        ("7", "describes no accelerator"),
        ("{name: x, peak_flops_per_s: {fp8: 1}, hbm_bytes_per_s: 1, sm_count: 1}", "has no bf16"),
        ("{name: x, peak_flops_per_s: {bf16: 1}, hbm_bytes_per_s: 0, sm_count: 1}", "hbm_bytes_per_s is 0"),
        (
            "{name: x, peak_flops_per_s: {bf16: 1}, hbm_bytes_per_s: 1, sm_count: 1, network: ether}",
            "'ether'",
        ),
    ],
)
def test_a_wrong_description_of_hardware_is_named(
    benchmarks: Path, tmp_path: Path, text: str, says: str
) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(text)
    done = run("calibrate", benchmarks, "--hardware", board, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert says in done.stderr
