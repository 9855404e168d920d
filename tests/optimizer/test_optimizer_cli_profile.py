"""`llmopt profile`: its refusals everywhere; with PyTorch, measured rows that `llmopt calibrate` fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Run

import llmopt_optimizer.cli.profiling as profiling
from llmopt_optimizer.cli.app import app


def run(*arguments: object) -> Run:
    return CliRunner().invoke(app, [str(item) for item in arguments], catch_exceptions=False)


def test_without_pytorch_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "find_spec", lambda _: None)
    done = run("profile", "--out", tmp_path / "own.csv")
    assert done.exit_code == 2
    assert "pip install 'llmopt[profile]'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--device", "tpu"), "device 'tpu' is unknown: write cuda, cuda:1 or cpu"),
        (("--device", "cpu", "--size", "huge"), "size 'huge' is unknown; choose tiny, quick, full"),
        (("--device", "cpu", "--family", "warp"), "family 'warp' is not measured; choose of gemm_bf16"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    pytest.importorskip("torch", reason="PyTorch (extra profile) is not installed")
    done = run("profile", "--out", tmp_path / "own.csv", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_an_interrupt_keeps_the_rows_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="PyTorch (extra profile) is not installed")
    import llmopt_calibration.profiling.run as running

    out, real = tmp_path / "own.csv", running.append

    def interrupted(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        if out.read_text().count("\n") == 4:
            raise KeyboardInterrupt

    command = ("profile", "--device", "cpu", "--family", "elementwise", "--out", out)
    monkeypatch.setattr(running, "append", interrupted)
    stopped = run(*command)
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    assert out.read_text().count("\n") == 4
    monkeypatch.setattr(running, "append", real)
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert "measured 9 shapes" in done.stdout
    assert out.read_text().count("\n") == 13


def test_a_measured_processor_is_calibrated_and_labelled(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch (extra profile) is not installed")
    out = tmp_path / "cpu.csv"
    assert run("profile", "--device", "cpu", "--family", "gemm_bf16", "--out", out).exit_code == 0
    board = tmp_path / "cpu.yaml"
    board.write_text(
        "name: this-cpu\npeak_flops_per_s: {bf16: 1.0e+12}\nhbm_bytes_per_s: 2.0e+10\nsm_count: 1\n"
    )
    done = run("calibrate", out, "--hardware", board, "--out", tmp_path / "fit", "--no-report")
    assert done.exit_code == 0, done.output
    entry = json.loads((tmp_path / "fit/this-cpu.sglang.json").read_text())["families"]["gemm_bf16"]
    assert entry["source"]["device"].startswith("cpu: one thread of ")
    refused = run("calibrate", out, "--accelerator", "H200-SXM", "--out", tmp_path / "fit")
    assert refused.exit_code == 2
    assert "measured on cpu: one thread of" in refused.stderr
