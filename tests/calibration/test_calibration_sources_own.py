"""Microbenchmarks of one's own: the documented CSV, its units, and every way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmopt_calibration.laws import law
from llmopt_calibration.sources import SourceError, Wanted, read_source, read_sources
from llmopt_calibration.sources.plausible import catalog_device
from llmopt_problems import catalog

H200 = Wanted(catalog.accelerator("H200-SXM"), "sglang")
GEMM = "family,tokens,output_width,input_width,{unit},device,tool,tool_version,measured_on"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def gemm_file(path: Path, unit: str = "time_us", factor: float = 1.0, device: str = "NVIDIA H200") -> Path:
    """Plausible times of five products: 20 µs and more."""
    rows = [
        f"gemm_bf16,{m},4096,4096,{factor * (20 + m / 20)},{device},own,1.0,2026-01-02"
        for m in (1, 16, 256, 1024, 4096)
    ]
    return write(path, GEMM.format(unit=unit), *rows)


def test_a_file_becomes_shapes_in_si_with_provenance(tmp_path: Path) -> None:
    found = read_sources([gemm_file(tmp_path / "own.csv")], H200)
    data = found["gemm_bf16"]
    assert list(data.shape.columns) == [symbol.name for symbol in law("gemm_bf16").shape]
    assert data.seconds[0] == pytest.approx(20.05e-6)
    assert (data.provenance.package, data.provenance.package_version) == ("own", "1.0")
    assert (data.provenance.measured_on, data.provenance.device) == ("2026-01-02", "NVIDIA H200")
    assert data.provenance.table == "own.csv"
    assert len(data.provenance.sha256) == 64


@pytest.mark.parametrize(("unit", "factor"), [("time_s", 1e-6), ("time_ms", 1e-3), ("time_ns", 1e3)])
def test_every_unit_means_the_same(tmp_path: Path, unit: str, factor: float) -> None:
    data = read_sources([gemm_file(tmp_path / "own.csv", unit, factor)], H200)["gemm_bf16"]
    assert data.seconds[0] == pytest.approx(20.05e-6)


def test_microseconds_under_another_unit_are_found_out(tmp_path: Path) -> None:
    says = r"own\.csv.*gemm_bf16 have the wrong unit: a factor of 1000 off.*a smaller one"
    with pytest.raises(SourceError, match=says):
        read_sources([gemm_file(tmp_path / "own.csv", "time_ms")], H200)
    with pytest.raises(
        SourceError, match=r"no row for gemm_bf16 is left \(5 longer than 10 s\).*check units"
    ):
        read_sources([gemm_file(tmp_path / "own.csv", "time_s")], H200)


def test_seconds_called_milliseconds_are_found_out(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"wrong unit: a factor of 1000 off .*a larger one"):
        read_sources([gemm_file(tmp_path / "own.csv", "time_ms", 1e-6)], H200)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (GEMM.format(unit="latency"), "time column 'latency' has no unit; name one column time_s"),
        (GEMM.format(unit="note"), "there is no time column"),
        (GEMM.format(unit="time_us").replace("tool,", "time_ms,"), "times stand in time_ms and time_us"),
        (GEMM.format(unit="time_us").replace("input_width", "k"), "gemm_bf16 needs the columns input_width"),
    ],
)
def test_missing_columns_and_units_are_named(tmp_path: Path, header: str, says: str) -> None:
    path = write(tmp_path / "own.csv", header, "gemm_bf16,1,4096,4096,20,H200,1,1,2026-01-02")
    with pytest.raises(SourceError, match=says):
        read_source(path, H200)


def test_nonsense_rows_are_counted_by_reason(tmp_path: Path) -> None:
    lines = (
        GEMM.format(unit="time_us"),
        "gemm_bf16,1,4096,4096,20,,,,",
        "gemm_bf16,1,4096,4096,24,,,,",
        "gemm_bf16,2,4096,4096,0,,,,",
        "gemm_bf16,4,4096,4096,-3,,,,",
        "gemm_bf16,8,4096,4096,fast,,,,",
        "gemm_bf16,16384,16384,16384,20,,,,",
        "warp_drive,1,1,1,20,,,,",
    )
    data = read_sources([write(tmp_path / "own.csv", *lines)], H200)["gemm_bf16"]
    assert data.seconds.tolist() == pytest.approx([22e-6])
    counts = {reason: count for reason, count in data.dropped.items() if count}
    assert counts == {
        "repeated shape": 1,
        "zero or negative": 2,
        "not a number": 1,
        "faster than physics allows": 1,
        "unknown family": 1,
    }


def test_a_file_without_a_known_family_says_which_are_known(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", "family,time_s", "warp_drive,1")
    with pytest.raises(SourceError, match=r"no row is of a known family \(warp_drive\); known: .*gemm_bf16"):
        read_source(path, H200)


def test_mixed_timers_are_an_error_and_throttled_rows_are_left_out(tmp_path: Path) -> None:
    header = "family,bytes_moved,time_us,timer,sm_clock_mhz"
    rows = [f"elementwise,{2**e},{3 + 2**e / 4e6},cuda_event,1980" for e in range(12, 20)]
    mixed = write(tmp_path / "a.csv", header, *rows, "elementwise,9,3,host,1980")
    with pytest.raises(SourceError, match="mixed clocks: elementwise was timed by cuda_event and host"):
        read_source(mixed, H200)
    slow = write(tmp_path / "b.csv", header, *rows, "elementwise,9,30,cuda_event,990")
    (data,) = read_source(slow, H200)
    assert len(data.seconds) == len(rows)
    assert data.dropped["clock off the median"] == 1


def test_two_devices_never_mix(tmp_path: Path) -> None:
    both = write(
        tmp_path / "own.csv",
        "family,bytes_moved,time_us,device",
        "elementwise,1000000,5,H200",
        "elementwise,2000000,6,H100",
    )
    with pytest.raises(SourceError, match="elementwise was measured on H100 and H200"):
        read_source(both, H200)
    files = [gemm_file(tmp_path / f"{i}.csv", device=name) for i, name in enumerate(("H200", "H200 NVL"))]
    with pytest.raises(SourceError, match="mixed clocks: gemm_bf16 was measured on H200 and H200 NVL"):
        read_sources(files, H200)


def test_a_file_of_another_device_is_refused(tmp_path: Path) -> None:
    path = gemm_file(tmp_path / "own.csv", device="NVIDIA H100 80GB HBM3")
    with pytest.raises(SourceError, match=r"measured on NVIDIA H100 80GB HBM3, not on H200-SXM; .* H100-SXM"):
        read_sources([path], H200)
    cpu = gemm_file(tmp_path / "cpu.csv", device="cpu: some processor")
    with pytest.raises(SourceError, match=r"not on H200-SXM; describe that device in a file"):
        read_sources([cpu], H200)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("AMD Instinct MI300X", "MI300X"),
        ("Some Accelerator", None),
    ],
)
def test_driver_names_are_catalog_names(device: str, name: str | None) -> None:
    assert catalog_device(device) == name


def test_files_and_folders_of_one_family_are_one_data_set(tmp_path: Path) -> None:
    first = gemm_file(tmp_path / "a.csv")
    row = "gemm_bf16,8,8192,4096,31,NVIDIA H200,own,1.1,2026-02-03"
    write(tmp_path / "b.csv", GEMM.format(unit="time_us"), row)
    found = read_sources([tmp_path], H200)["gemm_bf16"]
    assert len(found.seconds) == 6
    assert found.provenance.table == "a.csv + b.csv"
    assert found.provenance.measured_on == "2026-01-02 + 2026-02-03"
    assert found.provenance.sha256 != read_sources([first], H200)["gemm_bf16"].provenance.sha256


def test_unknown_formats_and_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="format is unknown"):
        read_source(write(tmp_path / "x.csv", "a,b", "1,2"), H200)
    with pytest.raises(SourceError, match=r"absent\.csv: cannot be read"):
        read_source(tmp_path / "absent.csv", H200)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no files"):
        read_source(tmp_path / "empty", H200)


def test_serving_results_are_told_apart_from_operators(tmp_path: Path) -> None:
    points = write(tmp_path / "points.csv", "model_path,concurrency,ttft_ms,tpot_ms", "a,1,2,3")
    run = write(tmp_path / "run.jsonl", '{"backend": "sglang", "mean_ttft_ms": 1.0}')
    for path in (points, run):
        with pytest.raises(SourceError, match=r"measured requests, not operators.*llmopt validate"):
            read_source(path, H200)
