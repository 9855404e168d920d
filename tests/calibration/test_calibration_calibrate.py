"""Calibration: variants chosen by unseen shapes, honest intervals, files that load as they were written."""

from __future__ import annotations

import html.parser
import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmopt_calibration.coefficients import CoefficientError, load
from llmopt_calibration.coefficients.store import parse_family
from llmopt_calibration.fitting import Calibration, calibrate, fit, law_function
from llmopt_calibration.fitting.files import coefficient_text, file_name
from llmopt_calibration.fitting.report import report_html
from llmopt_calibration.fitting.summary import coefficient_rows, confidence_interval, summary_rows
from llmopt_calibration.fitting.variants import choose, variants
from llmopt_calibration.laws import law, laws
from llmopt_calibration.sources import Measurements, Provenance
from llmopt_problems import catalog

ACCELERATOR = catalog.accelerator("H200-SXM")
PROVENANCE = Provenance("own", "1.0", "own.csv", "0" * 64, measured_on="2026-01-02")
ALL_REDUCE = {
    "overhead_s": 5e-6,
    "rank_s": 1e-6,
    "link_efficiency": 0.6,
    "network_efficiency": 0.3,
    "ramp_bytes": 1e5,
}
ROOFLINE = {
    "overhead_s": 5e-6,
    "compute_efficiency": 0.7,
    "memory_efficiency": 0.8,
    "token_padding": 1e-3,
    "output_padding": 1e-3,
    "input_padding": 1e-3,
    "wave_outputs": 1e-3,
    "sharpness": 12.0,
}
PADDED = ROOFLINE | {"token_padding": 60.0, "output_padding": 400.0, "wave_outputs": 9000.0, "sharpness": 2.5}


def measured(
    family: str, rows: list[tuple[float, ...]], values: dict[str, float], noise: float, seed: int
) -> Measurements:
    """Times of the law with `values` and log-normal noise."""
    of = law(family)
    shape = pd.DataFrame(rows, columns=[symbol.name for symbol in of.shape], dtype=float)
    numbers = np.array([values[item.symbol.name] for item in of.coefficients])
    seconds = law_function(of, ACCELERATOR)(shape.to_numpy(float).T, numbers)
    factors = np.exp(np.random.default_rng(seed).normal(0, noise, len(seconds)))
    return Measurements(
        family, shape, seconds * factors, PROVENANCE, {"zero or negative": 2, "not a number": 0}
    )


def gemm_rows() -> list[tuple[float, ...]]:
    widths = (512, 1024, 4096, 8192, 16384)
    return [(m, n, k) for m in (1, 8, 32, 128, 512, 2048, 8192) for n in widths for k in widths]


def reduce_rows() -> list[tuple[float, ...]]:
    return [(2.0**e, r, 1) for e in np.arange(10, 28.5, 0.5) for r in (2, 4, 8)]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    data = [
        measured("gemm_bf16", gemm_rows(), PADDED, 0.03, 1),
        measured("all_reduce", reduce_rows(), ALL_REDUCE, 0.03, 2),
        measured(
            "elementwise", [(2.0**e,) for e in (20, 25)], {"overhead_s": 3e-6, "memory_efficiency": 0.7}, 0, 3
        ),
    ]
    return calibrate({item.family: item for item in data}, ACCELERATOR, "vllm")


@pytest.mark.parametrize("family", sorted(laws()))
def test_variants_fix_declared_coefficients_at_their_bounds(family: str) -> None:
    found = variants(law(family))
    assert found[0].fixed == {}
    bounds = {item.symbol.name: (item.lower, item.upper) for item in law(family).coefficients}
    assert len({tuple(sorted(variant.fixed)) for variant in found}) == len(found)
    for variant in found:
        assert all(value in bounds[name] for name, value in variant.fixed.items())


def test_data_of_a_roofline_choose_it_and_padded_data_choose_the_padded_law() -> None:
    plain = choose(law("gemm_bf16"), ACCELERATOR, measured("gemm_bf16", gemm_rows(), ROOFLINE, 0.03, 5))
    padded = choose(law("gemm_bf16"), ACCELERATOR, measured("gemm_bf16", gemm_rows(), PADDED, 0.03, 5))
    assert plain.variant.name == "plain roofline"
    assert padded.variant.name == "full"
    assert padded.errors["full"][0] < 0.5 * padded.errors["plain roofline"][0]


def test_the_held_out_error_is_that_of_the_noise(calibration: Calibration) -> None:
    # The mean of |exp(z) - 1| for z ~ N(0, 0.03²) is 0.03 √(2/π) ≈ 2.4%.
    assert calibration.families["gemm_bf16"].fit.held_out_mape == pytest.approx(0.024, abs=0.01)
    assert calibration.families["all_reduce"].fit.held_out_mape == pytest.approx(0.024, abs=0.01)


def test_a_family_with_too_few_shapes_is_skipped_with_the_reason(calibration: Calibration) -> None:
    assert set(calibration.families) == {"gemm_bf16", "all_reduce"}
    assert "elementwise: " in calibration.skipped["elementwise"]


def covered(
    family: str, rows: list[tuple[float, ...]], truth: dict[str, float], runs: int
) -> dict[str, float]:
    """How often the 95% interval of each determined coefficient holds the truth, over fresh noise."""
    hits: dict[str, list[bool]] = {}
    for seed in range(runs):
        result = fit(law(family), ACCELERATOR, measured(family, rows, truth, 0.05, 1000 + seed))
        for name, error in result.standard_errors.items():
            low, high = confidence_interval(result.values[name], error) or (0.0, 0.0)
            hits.setdefault(name, []).append(low <= truth[name] <= high)
    return {name: float(np.mean(found)) for name, found in hits.items()}


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    found = covered("all_reduce", reduce_rows(), ALL_REDUCE, runs=80)
    assert set(found) == {"overhead_s", "rank_s", "link_efficiency", "ramp_bytes"}
    # Binomial(80, 0.95) has a standard deviation of 2.4%; the Gauss–Newton approximation costs a little.
    assert all(0.87 <= share <= 1.0 for share in found.values()), found


def test_intervals_of_the_padded_product_hold_the_truth() -> None:
    truth = PADDED | {"input_padding": 200.0}
    found = covered("gemm_bf16", gemm_rows(), truth, runs=80)
    assert set(found) == set(truth)
    assert all(0.87 <= share <= 1.0 for share in found.values()), found


def test_a_coefficient_at_its_bound_has_no_interval() -> None:
    truth = ALL_REDUCE | {"link_efficiency": 0.02}
    result = fit(law("all_reduce"), ACCELERATOR, measured("all_reduce", reduce_rows(), truth, 0.0, 0))
    assert result.values["link_efficiency"] == pytest.approx(0.02, rel=2e-3)
    assert "link_efficiency" not in result.standard_errors


def test_an_entry_carries_its_provenance(calibration: Calibration) -> None:
    content = json.loads(coefficient_text(calibration, date(2026, 1, 3)))
    assert (content["accelerator"], content["engine"]) == ("H200-SXM", "vllm")
    entry = content["families"]["all_reduce"]
    assert (entry["basis"], entry["date"], entry["variant"]) == ("measured", "2026-01-03", "full")
    assert (entry["source"]["sha256"], entry["source"]["measured_on"]) == ("0" * 64, "2026-01-02")
    assert entry["training_rows"] + entry["held_out_rows"] == len(reduce_rows())
    assert entry["dropped_rows"] == {"zero or negative": 2}
    assert entry["training_range"]["message_bytes"] == [1024.0, 2.0**28]
    assert entry["coefficients"]["overhead_s"]["unit"] == "s"
    assert "standard_error" not in entry["coefficients"]["network_efficiency"]
    assert parse_family("all_reduce", entry).held_out_error == pytest.approx(entry["held_out_mape"])


def test_tables_tell_every_family_and_coefficient(calibration: Calibration) -> None:
    rows = {row[0]: row for row in summary_rows(calibration)}
    assert rows["all_reduce"][1:4] == (
        "full",
        "111",
        str(calibration.families["all_reduce"].fit.held_out_rows),
    )
    assert "2 zero or negative" in rows["all_reduce"]
    told = {row[0]: row[2] for row in coefficient_rows(calibration.families["all_reduce"])}
    assert told["network_efficiency"] == "not determined by the data"
    assert " to " in told["link_efficiency"]


class Page(html.parser.HTMLParser):
    """What a page would fetch, and its headings."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.fetched += [given[name] for name in ("src", "href") if name in given]
        self.ids += [given["id"]] if tag == "h2" and "id" in given else []
        self.policy = given["content"] if "http-equiv" in given else self.policy


def test_the_report_is_one_page_that_fetches_nothing(calibration: Calibration) -> None:
    text = report_html(calibration)
    page = Page()
    page.feed(text)
    assert page.fetched == []
    assert page.policy.startswith("default-src 'none'")
    assert page.ids == ["gemm_bf16", "all_reduce"]
    assert text.count("Plotly.newPlot(") >= 2 * len(page.ids)
    assert f"{calibration.families['gemm_bf16'].fit.held_out_mape:.1%}" in text


def write(calibration: Calibration, folder: Path, name: str = "", **changes: object) -> Path:
    content = json.loads(coefficient_text(calibration, date(2026, 1, 3))) | changes
    path = folder / (name or file_name(calibration))
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_users_file_comes_before_the_bundled_one(calibration: Calibration, tmp_path: Path) -> None:
    write(calibration, tmp_path)
    shipped, own = load("H200-SXM", "vllm"), load("H200-SXM", "vllm", tmp_path)
    assert own.family("all_reduce").source == "own 1.0, own.csv"
    assert own.family("all_reduce").basis == "measured"
    assert own.family("gemm_bf16").values != shipped.family("gemm_bf16").values
    assert own.family("moe_bf16") == shipped.family("moe_bf16")
    assert load("H100-SXM", "vllm", tmp_path) == load("H100-SXM", "vllm")


def test_a_users_file_of_another_engine_is_transferred_and_never_beats_a_measurement(
    calibration: Calibration, tmp_path: Path
) -> None:
    write(calibration, tmp_path)
    assert load("H200-SXM", "sglang", tmp_path).family("all_reduce") == load("H200-SXM", "sglang").family(
        "all_reduce"
    )
    spec = catalog.accelerator("A100-80GB")
    other = Calibration(spec, "vllm", calibration.families, {})
    write(other, tmp_path)
    found = load("A100-80GB", "sglang", tmp_path).family("all_reduce")
    assert (found.basis, found.source) == ("transferred", "own 1.0, own.csv")
    assert load("A100-80GB", "vllm", tmp_path).family("all_reduce").basis == "measured"


def test_files_that_cannot_be_used_are_named(calibration: Calibration, tmp_path: Path) -> None:
    path = write(calibration, tmp_path, hardware={"sm_count": 1})
    with pytest.raises(CoefficientError, match=r"H200-SXM\.vllm\.json: fitted with other hardware numbers"):
        load("H200-SXM", "vllm", tmp_path)
    write(calibration, tmp_path, accelerator="H100-SXM")
    with pytest.raises(CoefficientError, match="fitted for another accelerator"):
        load("H200-SXM", "vllm", tmp_path)
    write(calibration, tmp_path, families={"gemm_bf16": {"coefficients": {}}})
    with pytest.raises(CoefficientError, match=r"gemm_bf16: coefficients \[\] but the law declares"):
        load("H200-SXM", "vllm", tmp_path)
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(CoefficientError, match="calibrate"):
            load("H200-SXM", "vllm", tmp_path)
