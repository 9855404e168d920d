"""Shipped coefficients match their laws, carry their provenance, and are as accurate as they say."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
import pytest

from llmopt_calibration.accuracy import accuracy_table, held_out_error
from llmopt_calibration.coefficients import fitted_pairs, load
from llmopt_calibration.coefficients.donors import MEASURED, donors
from llmopt_calibration.coefficients.store import parse_family, read_file, transferred
from llmopt_calibration.coefficients.user_files import hardware_entry
from llmopt_calibration.laws import law, laws
from llmopt_calibration.sources import OperatorTables, find_tables, read_family
from llmopt_problems import catalog

PAIRS = fitted_pairs()


def content(accelerator: str, engine: str) -> dict[str, Any]:
    file = resources.files("llmopt_calibration.coefficients").joinpath("data", f"{accelerator}.{engine}.json")
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


@pytest.fixture(scope="module")
def tables() -> OperatorTables:
    found = find_tables()
    if found is None:
        pytest.skip("no operator tables: set LLMOPT_AICONFIGURATOR to the folder aiconfigurator_core")
    return found


def test_donors_are_the_accelerators_that_have_files() -> None:
    assert {accelerator for accelerator, _ in PAIRS} == set(MEASURED)


def test_hopper_is_fitted_for_every_engine() -> None:
    needed = {(a, e) for a in ("H100-SXM", "H200-SXM") for e in ("sglang", "vllm", "trtllm")}
    assert needed <= set(PAIRS)


@pytest.mark.parametrize(("accelerator", "engine"), PAIRS)
def test_a_file_agrees_with_laws_and_catalog(accelerator: str, engine: str) -> None:
    file = content(accelerator, engine)
    assert (file["accelerator"], file["engine"], file["format"]) == (accelerator, engine, 1)
    assert file["hardware"] == hardware_entry(catalog.accelerator(accelerator)), "refit: the catalog changed"
    for family, entry in file["families"].items():
        assert entry["law"] == family
        assert entry["basis"] == "measured"
        assert len(entry["source"]["sha256"]) == 64
        assert entry["training_rows"] > 0 < entry["held_out_rows"]
        assert set(entry["training_range"]) == {symbol.name for symbol in law(family).shape}
        for item in law(family).coefficients:
            number = entry["coefficients"][item.symbol.name]
            assert number["unit"] == item.unit
            assert item.lower * 0.999 <= number["value"] <= item.upper * 1.001 or number["value"] <= 1e-9


@pytest.mark.parametrize(("accelerator", "engine"), PAIRS)
def test_held_out_errors_are_those_of_a_useful_law(accelerator: str, engine: str) -> None:
    for family, item in read_file(accelerator, engine).items():
        limit = 0.36 if family == "all_reduce" else 0.26  # one-shot and two-shot kernels, one law
        assert item.held_out_error is not None
        assert 0.01 < item.held_out_error < limit, family


@pytest.mark.parametrize("family", ["gemm_bf16", "attention_decode_bf16", "moe_fp8_block", "all_gather"])
def test_the_tables_confirm_the_stored_error(tables: OperatorTables, family: str) -> None:
    data = read_family(tables, "H200-SXM", "sglang", family)
    assert data is not None
    stored = read_file("H200-SXM", "sglang")[family]
    found = held_out_error(stored, data, catalog.accelerator("H200-SXM"))
    assert found == pytest.approx(stored.held_out_error, rel=1e-3)
    assert content("H200-SXM", "sglang")["families"][family]["source"]["sha256"] == data.provenance.sha256


def test_missing_families_are_transferred_and_labelled_so() -> None:
    sglang, trtllm = load("H200-SXM", "sglang"), load("H200-SXM", "trtllm")
    assert "mla_prefill_bf16" not in read_file("H200-SXM", "sglang")
    assert sglang.family("mla_prefill_bf16").basis == "transferred"
    assert trtllm.family("mla_prefill_bf16").basis == "measured"
    assert sglang.family("mla_prefill_bf16").values == trtllm.family("mla_prefill_bf16").values
    assert "trtllm" in sglang.family("mla_prefill_bf16").source


def test_unmeasured_families_and_accelerators_get_labelled_defaults() -> None:
    for name, family in (("H200-SXM", "elementwise"), ("MI300X", "gemm_bf16"), ("TPU-v4", "all_reduce")):
        found = load(name, "vllm").family(family)
        assert found.basis == "default"
        assert found.held_out_error is None
        assert dict(found.values) == law(family).defaults()


def test_an_unmeasured_accelerator_takes_the_coefficients_of_the_one_most_like_it() -> None:
    assert donors("A100-80GB")[0] == "H100-SXM"
    assert donors("H200-SXM")[0] == "H100-SXM"
    assert donors("B200", farther_than=0.5) == ("H200-SXM", "H100-SXM")
    found = load("L40S", "vllm").family("gemm_bf16")
    assert (found.basis, found.values) == (
        "transferred",
        load(donors("L40S")[0], "vllm").family("gemm_bf16").values,
    )


def test_left_out_tables_are_not_read() -> None:
    left_out = load("H200-SXM", "vllm", farther_than=0.0).family("gemm_bf16")
    assert left_out.basis == "transferred"
    assert left_out.values == load("H100-SXM", "vllm").family("gemm_bf16").values


def test_a_transfer_never_upgrades_a_label() -> None:
    for item in transferred(read_file("H200-SXM", "vllm")).values():
        assert item.basis == "transferred"


def test_every_law_has_coefficients_everywhere() -> None:
    for accelerator in catalog.accelerator_names():
        coefficients = load(accelerator, "sglang")
        for family in laws():
            values = coefficients.family(family).values
            assert set(values) == {item.symbol.name for item in law(family).coefficients}


def test_a_file_of_another_law_is_refused() -> None:
    entry = content("H200-SXM", "sglang")["families"]["gemm_bf16"]
    with pytest.raises(ValueError, match=r"elementwise: coefficients .* but the law declares .*; refit"):
        parse_family("elementwise", entry)


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(ValueError, match="engine 'tgi' is unknown; known: sglang, vllm, trtllm"):
        load("H200-SXM", "tgi")


def test_unknown_laws_are_refused() -> None:
    with pytest.raises(KeyError, match="no law called 'gemm_fp3'"):
        load("H200-SXM", "sglang").family("gemm_fp3")


def test_the_accuracy_table_shows_every_law_with_its_basis() -> None:
    table = accuracy_table("H200-SXM", "sglang")
    assert set(table.index) == set(laws())
    assert (table["basis"] == "default").equals(table["held_out_error"].isna())
    assert np.nanmax(table["held_out_error"]) < 0.35
