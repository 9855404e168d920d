"""The hardware catalog: every number has a source, peaks are dense, rates are of one direction."""

from __future__ import annotations

import pickle
from dataclasses import fields

import pytest

from llmopt_problems import catalog
from llmopt_problems.errors import ProblemError
from llmopt_problems.hardware.spec import AcceleratorSpec

# Rates with structured sparsity as the data sheets print them (TFLOP/s): what no entry may equal.
SPARSE_TFLOPS = {
    "A100-80GB": {"bf16": 624, "int8": 1248},
    "H100-SXM": {"bf16": 1979, "fp8": 3958, "int8": 3958},
    "H200-SXM": {"bf16": 1979, "fp8": 3958, "int8": 3958},
    "B200": {"bf16": 4500, "fp8": 9000, "fp4": 18000, "int8": 9000},
    "B300": {"bf16": 4500, "fp8": 9000, "fp4": 18000, "int8": 307},
    "GB200": {"bf16": 5000, "fp8": 10000, "fp4": 20000, "int8": 10000},
    "GB300": {"bf16": 5000, "fp8": 10000, "fp4": 20000, "int8": 330},
    "L40S": {"bf16": 733, "fp8": 1466, "int8": 1466},
    "MI300X": {"bf16": 2614.9, "fp8": 5229.8, "int8": 5229.8},
    "RTX-PRO-6000": {"bf16": 1007.6, "fp8": 2015.2, "fp4": 4030.4, "int8": 2015.2},
    "RTX-4090": {"bf16": 330.4, "fp8": 660.6, "int8": 1321.2},
}
NO_SPARSITY = {"TPU-v4"}

ONE_DIRECTION = {  # GB/s
    "NVLink3": 300,
    "NVLink4": 450,
    "NVLink5": 900,
    "PCIe4-x16": 32,
    "PCIe5-x16": 64,
    "InfiniBand-HDR": 25,
    "InfiniBand-NDR": 50,
    "Ethernet-100": 12.5,
    "Ethernet-400": 50,
}


@pytest.mark.parametrize("name", catalog.accelerator_names())
def test_every_number_has_a_source(name: str) -> None:
    spec = catalog.accelerator(name)
    assert set(spec.sources) == {field.name for field in fields(AcceleratorSpec)} - {"name", "sources"}
    assert all(len(source) > 10 for source in spec.sources.values())


@pytest.mark.parametrize("name", catalog.accelerator_names())
def test_peaks_are_dense(name: str) -> None:
    peaks = catalog.accelerator(name).peak_flops_per_s
    if name in NO_SPARSITY:
        return
    sparse = SPARSE_TFLOPS[name]
    assert set(peaks) == set(sparse)
    for kind, peak in peaks.items():
        assert peak < 0.85 * sparse[kind] * 1e12, kind


def test_known_peaks() -> None:
    assert catalog.accelerator("H100").peak_flops_per_s["bf16"] == 989.4e12
    assert catalog.accelerator("H200").peak_flops_per_s["fp8"] == 1978.9e12
    assert dict(catalog.accelerator("B200").peak_flops_per_s) == {
        "bf16": 2.25e15,
        "fp8": 4.5e15,
        "fp4": 9e15,
        "int8": 4.5e15,
    }


def test_peaks_follow_from_the_tensor_cores() -> None:
    """Dense bf16 is SMs x FLOP a clock x boost clock, both from the white papers."""
    clocks = {
        "A100-80GB": (2048, 1.410e9),
        "H100-SXM": (4096, 1.830e9),
        "L40S": (1024, 2.490e9),
        "RTX-PRO-6000": (1024, 2.430e9),
        "RTX-4090": (512, 2.520e9),
        "MI300X": (2048, 2.100e9),
    }
    for name, (flops, clock) in clocks.items():
        spec = catalog.accelerator(name)
        assert spec.peak_flops_per_s["bf16"] == pytest.approx(spec.sm_count * flops * clock, rel=0.005), name


@pytest.mark.parametrize("name", catalog.accelerator_names())
def test_numbers_are_plausible(name: str) -> None:
    spec = catalog.accelerator(name)
    assert 20e9 < spec.hbm_bytes < 310e9
    assert 0.8e12 < spec.hbm_bytes_per_s <= 8e12
    assert 0 < spec.idle_watts < spec.peak_watts <= 1400
    assert spec.gpus_per_node <= spec.scale_up_gpus
    assert spec.network.bytes_per_s <= spec.scale_up.bytes_per_s or spec.scale_up.name.startswith("PCIe")


@pytest.mark.parametrize("name", catalog.link_names())
def test_links_have_rate_latency_and_source(name: str) -> None:
    link = catalog.link(name)
    assert 1e9 < link.bytes_per_s < 1e12
    assert 1e-7 < link.latency_s < 1e-4
    assert "rate: " in link.source
    assert "latency: " in link.source


@pytest.mark.parametrize(("name", "gigabytes_per_s"), ONE_DIRECTION.items())
def test_rates_are_of_one_direction(name: str, gigabytes_per_s: float) -> None:
    assert catalog.link(name).bytes_per_s == gigabytes_per_s * 1e9


def test_scale_up_domains() -> None:
    assert catalog.accelerator("H200-SXM").scale_up == catalog.link("NVLink4")
    assert catalog.accelerator("H200-SXM").scale_up_gpus == 8
    for name in ("GB200", "GB300"):
        assert (catalog.accelerator(name).gpus_per_node, catalog.accelerator(name).scale_up_gpus) == (4, 72)


def test_names_are_found_in_any_case_and_by_alias() -> None:
    assert catalog.accelerator("h200").name == catalog.accelerator("H200-SXM5").name == "H200-SXM"
    assert catalog.accelerator("rtx pro 6000").name == "RTX-PRO-6000"
    assert catalog.link("ndr").name == "InfiniBand-NDR"


def test_unknown_names_are_answered_with_near_names() -> None:
    with pytest.raises(ProblemError, match=r"did you mean H200-SXM.*llmopt catalog"):
        catalog.accelerator("H20O-SXM")
    with pytest.raises(ProblemError, match=r"did you mean NVLink"):
        catalog.link("NVLink-6")


def test_an_accelerator_can_be_sent_to_another_process() -> None:
    spec = catalog.accelerator("H100-SXM")
    assert pickle.loads(pickle.dumps(spec)) == spec
