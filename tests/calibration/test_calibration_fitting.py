"""Fits find planted coefficients, hold out the same shapes always, and say what the data do not determine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llmopt_calibration.fitting import fit, held_out_mask, law_function
from llmopt_calibration.laws import law
from llmopt_calibration.sources import Measurements, Provenance
from llmopt_problems import catalog

ACCELERATOR = catalog.accelerator("H200-SXM")
PROVENANCE = Provenance("synthetic", "0", "none", "0")
GEMM = {
    "overhead_s": 4.2e-6,
    "compute_efficiency": 0.71,
    "memory_efficiency": 0.83,
    "token_padding": 40.0,
    "output_padding": 150.0,
    "input_padding": 220.0,
    "wave_outputs": 3000.0,
    "sharpness": 4.0,
}


def planted(family: str, shape: pd.DataFrame, values: dict[str, float], noise: float) -> Measurements:
    """Times of the law with `values` and log-normal noise."""
    fitted = law(family)
    columns = shape[[symbol.name for symbol in fitted.shape]].to_numpy(float).T
    coefficients = np.array([values[item.symbol.name] for item in fitted.coefficients])
    seconds = law_function(fitted, ACCELERATOR)(columns, coefficients)
    factors = np.exp(np.random.default_rng(7).normal(0, noise, len(seconds)))
    return Measurements(family, shape, seconds * factors, PROVENANCE, {})


def gemm_shapes() -> pd.DataFrame:
    tokens = [1, 4, 16, 64, 128, 256, 1024, 4096, 16384]
    widths = [256, 512, 1024, 4096, 8192, 32768]
    grid = [(m, n, k) for m in tokens for n in widths for k in widths]
    return pd.DataFrame(grid, columns=["tokens", "output_width", "input_width"], dtype=float)


def test_planted_coefficients_are_recovered_exactly_without_noise() -> None:
    result = fit(law("gemm_fp8"), ACCELERATOR, planted("gemm_fp8", gemm_shapes(), GEMM, noise=0.0))
    assert result.held_out_mape < 1e-5
    for name, value in GEMM.items():
        assert result.values[name] == pytest.approx(value, rel=1e-3), name


def test_planted_coefficients_lie_within_four_standard_errors_with_noise() -> None:
    result = fit(law("gemm_fp8"), ACCELERATOR, planted("gemm_fp8", gemm_shapes(), GEMM, noise=0.05))
    for name, value in GEMM.items():
        assert abs(result.values[name] - value) < 4 * result.standard_errors[name], name
    # The mean of |exp(z) - 1| for z ~ N(0, 0.05²) is 0.05 √(2/π) ≈ 4.0%.
    assert result.held_out_mape == pytest.approx(0.040, abs=0.012)


def test_an_outlier_hardly_moves_the_fit() -> None:
    data = planted("gemm_fp8", gemm_shapes(), GEMM, noise=0.0)
    seconds = data.seconds.copy()
    seconds[::40] *= 5
    spoiled = Measurements(data.family, data.shape, seconds, PROVENANCE, {})
    result = fit(law("gemm_fp8"), ACCELERATOR, spoiled)
    assert result.values["memory_efficiency"] == pytest.approx(GEMM["memory_efficiency"], rel=0.05)
    assert result.held_out_median < 0.05


def collective_data() -> Measurements:
    grid = [(2.0**e, r, 1.0) for e in range(10, 29) for r in (2.0, 4.0, 8.0)]
    shape = pd.DataFrame(grid, columns=["message_bytes", "ranks", "nodes"])
    values = {
        "overhead_s": 5e-6,
        "rank_s": 1e-6,
        "link_efficiency": 0.6,
        "network_efficiency": 0.3,
        "ramp_bytes": 1e5,
    }
    return planted("all_reduce", shape, values, noise=0.0)


def test_what_the_data_do_not_determine_keeps_its_default_without_an_error() -> None:
    result = fit(law("all_reduce"), ACCELERATOR, collective_data())
    assert result.values["link_efficiency"] == pytest.approx(0.6, rel=1e-3)
    assert "network_efficiency" not in result.standard_errors
    default = law("all_reduce").defaults()["network_efficiency"]
    assert result.values["network_efficiency"] == pytest.approx(default, rel=1e-3)


def test_the_held_out_fifth_depends_on_the_shape_alone() -> None:
    shapes = gemm_shapes()
    mask = held_out_mask(shapes)
    order = np.random.default_rng(0).permutation(len(shapes))
    assert (held_out_mask(shapes.iloc[order]) == mask[order]).all()
    assert 0.15 < mask.mean() < 0.26


def test_fits_are_deterministic() -> None:
    data = planted("gemm_fp8", gemm_shapes(), GEMM, noise=0.05)
    assert fit(law("gemm_fp8"), ACCELERATOR, data, limit=100) == fit(
        law("gemm_fp8"), ACCELERATOR, data, limit=100
    )
