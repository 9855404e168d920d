"""Profiling: plans name the laws' shapes, rows outlive interrupts, and with PyTorch the way is whole."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from llmopt_calibration.laws import law
from llmopt_calibration.profiling.plan import SIZES, Case, Size, plan
from llmopt_calibration.profiling.table import (
    COLUMNS,
    MEASURED_FAMILIES,
    Device,
    Timing,
    append,
    measured_before,
    remaining,
)
from llmopt_calibration.sources import SourceError
from llmopt_calibration.sources.microbenchmarks import read_microbenchmarks

DEVICE = Device("NVIDIA H200", "cuda_event", "llmopt profile", "torch 2.10", "2026-01-02")


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_has_the_shape_of_every_law_once(size: Size) -> None:
    cases = plan(size, fp8=True, ranks=8)
    assert {case.family for case in cases} == set(MEASURED_FAMILIES)
    assert len({case.key for case in cases}) == len(cases)
    for case in cases:
        assert set(case.shape) == {symbol.name for symbol in law(case.family).shape}
        assert all(number > 0 for number in case.shape.values())


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_holds_enough_shapes_to_fit_every_family(size: Size) -> None:
    cases = plan(size, fp8=False, ranks=2)
    for family in set(MEASURED_FAMILIES) - {"gemm_fp8"}:
        assert sum(case.family == family for case in cases) >= 8, family


def test_attention_pairs_are_those_of_a_causal_prompt() -> None:
    for case in plan("full", fp8=False, ranks=1):
        if case.family == "attention_prefill_bf16":
            assert case.shape["pairs"] == math.comb(case.shape["tokens"] + 1, 2)
        if case.family == "attention_decode_bf16":
            assert case.shape["context"] % case.shape["sequences"] == 0


def test_one_device_reduces_nothing_and_without_fp8_nothing_is_multiplied_in_it() -> None:
    families = {case.family for case in plan("tiny", fp8=False, ranks=1)}
    assert not families & {"all_reduce", "gemm_fp8"}
    ranks = {case.shape["ranks"] for case in plan("full", fp8=False, ranks=6) if case.family == "all_reduce"}
    assert ranks == {2, 4}


def fill(path: Path, cases: list[Case], device: Device = DEVICE) -> None:
    for index, case in enumerate(cases):
        append(path, case, Timing(50.0 + index, 11, 1.1, "1980", "55"), device)


def test_rows_are_what_calibration_reads(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    cases = [case for case in plan("tiny", fp8=False, ranks=2) if case.family in ("gemm_bf16", "all_reduce")]
    fill(path, cases)
    read = {data.family: data for data in read_microbenchmarks(path)}
    assert sum(len(data.seconds) for data in read.values()) == len(cases)
    assert read["gemm_bf16"].provenance.device == "NVIDIA H200"
    assert read["gemm_bf16"].provenance.measured_on == "2026-01-02"
    assert read["gemm_bf16"].seconds.min() == pytest.approx(50e-6)
    with path.open(newline="") as stream:
        assert tuple(csv.DictReader(stream).fieldnames or ()) == COLUMNS


def test_a_run_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    path, cases = tmp_path / "own.csv", list(plan("tiny", fp8=False, ranks=1))
    assert measured_before(path, DEVICE) == set()
    fill(path, cases[:5])
    whole = path.read_text()
    path.write_text(whole + "gemm_bf16,1,6")  # killed in the middle of a row
    done = measured_before(path, DEVICE)
    assert path.read_text() == whole
    assert remaining(cases, done) == cases[5:]
    fill(path, cases[5:])
    assert remaining(cases, measured_before(path, DEVICE)) == []


def test_a_file_of_another_device_or_layout_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    fill(path, list(plan("tiny", fp8=False, ranks=1))[:1])
    other = Device("NVIDIA H100", "cuda_event", "llmopt profile", "torch 2.10", "2026-01-02")
    with pytest.raises(SourceError, match="was measured on NVIDIA H200 by cuda_event"):
        measured_before(path, other)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match="is no table of this version"):
        measured_before(path, DEVICE)


def torch_or_skip() -> Any:
    return pytest.importorskip("torch", reason="PyTorch (extra profile) is not installed")


def test_every_case_is_measured_in_a_real_run(tmp_path: Path) -> None:
    torch_or_skip()
    from llmopt_calibration.profiling.run import Profiling, measure

    asked = Profiling(
        "cpu", "tiny", tmp_path / "cpu.csv", ("elementwise", "attention_decode_bf16", "moe_bf16")
    )
    steps = list(measure(asked))
    assert all(step.timing is not None and step.timing.time_us > 0 for step in steps)
    assert steps[-1].left == 0
    families = {data.family for data in read_microbenchmarks(asked.out)}
    assert families == {"elementwise", "attention_decode_bf16", "moe_bf16"}
    assert list(measure(asked)) == []


def test_operators_compute_what_their_laws_are_of() -> None:
    """The sizes of the results, and for experts the result itself against a sum written by token."""
    torch = torch_or_skip()
    from llmopt_calibration.profiling.operators import operator

    for case in plan("tiny", fp8=False, ranks=1):
        result, shape = operator(case, "cpu")(), case.shape
        if case.family == "gemm_bf16":
            assert tuple(result.shape) == (shape["tokens"], shape["output_width"])
        if case.family == "elementwise":
            assert 2 * result.numel() * result.element_size() == shape["bytes_moved"]
        if case.family == "attention_decode_bf16":
            assert tuple(result.shape) == (shape["sequences"], shape["query_heads"], 1, shape["value_dim"])
        if case.family == "moe_bf16":
            assert tuple(result.shape) == (shape["tokens"], shape["hidden"])
            assert bool(torch.isfinite(result).all())


def test_a_machine_without_a_gpu_says_so() -> None:
    torch = torch_or_skip()
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from llmopt_calibration.profiling.run import NoDeviceError, describe

    with pytest.raises(NoDeviceError, match="no CUDA device; --device cpu"):
        describe("cuda")
