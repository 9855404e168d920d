"""Coefficients of one accelerator on another: exact where only the data sheet differs, and labelled."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from llmopt_calibration.coefficients import fitted_pairs, load
from llmopt_calibration.coefficients.store import ENGINES
from llmopt_calibration.coefficients.transfer_errors import transfer_errors
from llmopt_calibration.fitting import Calibration, calibrate, law_function
from llmopt_calibration.fitting.transfer import same_arithmetic, transfer_rows, transfer_table, transfer_text
from llmopt_calibration.laws import law
from llmopt_calibration.sources import Measurements, Provenance, Wanted, find_tables, read_sources
from llmopt_problems import catalog
from llmopt_problems.hardware.spec import AcceleratorSpec

PROVENANCE = Provenance("synthetic", "0", "none", "0")
COPY = {"overhead_s": 4e-6, "memory_efficiency": 0.8}
H100, H200, A100 = (catalog.accelerator(name) for name in ("H100-SXM", "H200-SXM", "A100-80GB"))


def copies(spec: AcceleratorSpec, values: dict[str, float]) -> Measurements:
    shape = pd.DataFrame({"bytes_moved": [2.0**e for e in np.arange(10, 32, 0.5)]})
    numbers = np.array([values[item.symbol.name] for item in law("elementwise").coefficients])
    seconds = law_function(law("elementwise"), spec)(shape.to_numpy(float).T, numbers)
    return Measurements("elementwise", shape, seconds, PROVENANCE, {})


def calibrated(spec: AcceleratorSpec, values: dict[str, float] = COPY) -> Calibration:
    return calibrate({"elementwise": copies(spec, values)}, spec, "sglang")


def test_equal_efficiencies_transfer_without_error() -> None:
    table = transfer_table([calibrated(H100), calibrated(H200), calibrated(A100)])
    assert len(table) == 6
    assert table["transferred_error"].max() < 1e-4


def test_a_lower_efficiency_there_is_the_error() -> None:
    large = calibrated(
        H200, COPY | {"memory_efficiency": 0.4, "overhead_s": 8e-6}
    )  # everything takes twice as long
    table = transfer_table([calibrated(H100), large]).set_index("predicted")
    assert table.loc["H200-SXM", "transferred_error"] == pytest.approx(0.5, abs=0.01)
    assert table.loc["H100-SXM", "transferred_error"] == pytest.approx(1.0, abs=0.02)
    ((family, pairs, own, median, worst),) = transfer_rows(table.reset_index())
    assert (family, pairs, own, median) == ("elementwise", "2", "0.0%", "75.0%")
    assert worst.endswith("H200-SXM to H100-SXM")
    content = json.loads(transfer_text(table.reset_index(), "sglang"))
    assert content["families"]["elementwise"]["pairs"] == 2
    assert content["accelerators"] == ["H100-SXM", "H200-SXM"]


def test_arithmetic_that_one_lacks_is_not_transferred() -> None:
    assert same_arithmetic("fp8", H100, H200)
    assert not same_arithmetic("fp8", H100, A100)
    assert same_arithmetic("fp4", H100, A100)  # neither has it: weights are widened in registers


@pytest.mark.parametrize("engine", ENGINES)
def test_an_accelerator_without_data_is_labelled_transferred_with_the_measured_error(engine: str) -> None:
    found = load("A100-80GB", engine)
    errors = transfer_errors(engine)
    families = {name: item for name, item in found.families.items() if name != "engine_step"}
    assert {"gemm_bf16", "attention_decode_bf16", "all_reduce"} <= set(families)
    for name, item in families.items():
        assert item.basis == "transferred"
        assert item.held_out_error == errors.get(name)
        assert ", scaled from " in item.source
    assert found.family("elementwise").basis == "default"
    assert load("MI300X", engine).family("gemm_bf16").basis == "default"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_shipped_errors_are_of_known_families_and_worse_than_own_fits(engine: str) -> None:
    file = resources.files("llmopt_calibration.coefficients").joinpath("transfer", f"{engine}.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert set(content["accelerators"]) == {name for name, other in fitted_pairs() if other == engine}
    for name, entry in content["families"].items():
        assert law(name).family == name
        assert 0 < entry["median_error"] <= entry["worst_error"]


def test_the_tables_confirm_a_shipped_error() -> None:
    tables = find_tables()
    if tables is None:
        pytest.skip("no operator tables: set LLMOPT_AICONFIGURATOR to the folder aiconfigurator_core")
    fits = []
    for spec in (H100, H200):
        data = read_sources([tables.root], Wanted(spec, "sglang"))
        fits.append(calibrate({"gemm_bf16": data["gemm_bf16"]}, spec, "sglang"))
    error = transfer_table(fits)["transferred_error"].max()
    # Two chips of one generation transfer better than the median pair of all.
    assert error < transfer_errors("sglang")["gemm_bf16"] + 0.02
