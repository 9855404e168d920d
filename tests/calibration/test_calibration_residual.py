"""The learned residual: it corrects what the law misses, stays inside its shapes, and step laws carry it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import sympy as sp

from llmopt_calibration.coefficients import CoefficientSet, load
from llmopt_calibration.coefficients.residual import Residual, parse_residual, residual_entry
from llmopt_calibration.coefficients.store import parse_family
from llmopt_calibration.compiled import compile_step, step_seconds
from llmopt_calibration.fitting import Calibration, calibrate, law_function
from llmopt_calibration.fitting.files import coefficient_text
from llmopt_calibration.fitting.residual import correction
from llmopt_calibration.laws import law
from llmopt_calibration.precision import Precision
from llmopt_calibration.sources import Measurements, Provenance
from llmopt_calibration.step import step_law
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout

ACCELERATOR = catalog.accelerator("H200-SXM")
PROVENANCE = Provenance("own", "1.0", "own.csv", "0" * 64)
COPY = {"overhead_s": 4e-6, "memory_efficiency": 0.8}
BUMP = Residual(
    ranges={"bytes_moved": (1e6, 1e8)},
    variables=("bytes_moved",),
    centres=(float(np.log(1e7)),),
    scales=(1.0,),
    terms=(((0,), 0.3), ((1,), 0.05)),
    limit=100.0,
    held_out_mape=0.03,
)


def copies(bent: float, noise: float = 0.01) -> Measurements:
    """Times of a law, bent by a parabola in the logarithm of the size."""
    shape = pd.DataFrame({"bytes_moved": 2.0 ** np.arange(14, 31, 0.25)})
    of = law("elementwise")
    numbers = np.array([COPY[item.symbol.name] for item in of.coefficients])
    seconds = law_function(of, ACCELERATOR)(shape.to_numpy(float).T, numbers)
    logs = np.log2(shape["bytes_moved"].to_numpy())
    factor = np.exp(bent * ((logs - 22) / 8) ** 2 + np.random.default_rng(3).normal(0, noise, len(logs)))
    return Measurements("elementwise", shape, seconds * factor, PROVENANCE, {})


def trained(bent: float) -> Calibration:
    return calibrate({"elementwise": copies(bent)}, ACCELERATOR, "sglang", residual=True)


def test_what_the_law_misses_is_learned() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (extra residual) is not installed")
    found = trained(0.8).families["elementwise"]
    assert found.residual is not None
    assert found.fit.held_out_mape > 0.05
    assert found.residual.held_out_mape < 0.5 * found.fit.held_out_mape
    # The same error, recomputed on the shapes that neither law nor correction saw.
    predicted = found.predicted_s * correction(found.residual, found.data)
    error = np.abs(predicted / found.data.seconds - 1)[found.held_out].mean()
    assert error == pytest.approx(found.residual.held_out_mape, abs=1e-5)


def test_a_law_that_misses_nothing_is_left_alone() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (extra residual) is not installed")
    assert trained(0.0).families["elementwise"].residual is None


def test_inside_it_is_the_polynomial_and_outside_the_law_alone() -> None:
    def at(size: float) -> float:
        return float(BUMP.factor({"bytes_moved": size}))

    assert at(1e7) == pytest.approx(np.exp(0.3), rel=1e-4)
    assert at(1e8) == pytest.approx(np.exp(0.3 + 0.05 * np.log(10)), rel=1e-4)
    assert at(2e8) == pytest.approx(1.0)
    assert at(1e12) == pytest.approx(1.0)
    assert at(5e5) == pytest.approx(1.0)
    assert at(0.0) == pytest.approx(1.0)
    assert 1.0 < at(1.4e8) < at(1e8)  # it fades, it does not jump


def test_it_never_leaves_what_training_saw() -> None:
    wild = replace(BUMP, terms=(((1,), 50.0),), limit=0.5)
    values = [float(wild.factor({"bytes_moved": size})) for size in np.geomspace(1e6, 1e8, 30)]
    assert min(values) == pytest.approx(np.exp(-0.5), rel=1e-3)
    assert max(values) == pytest.approx(np.exp(0.5), rel=1e-3)


def test_it_is_stored_as_plain_data() -> None:
    assert parse_residual(json.loads(json.dumps(residual_entry(BUMP)))) == BUMP
    broken = residual_entry(BUMP) | {"centres": []}
    with pytest.raises(ValueError, match="do not belong together"):
        parse_residual(broken)


def test_a_data_file_carries_it_and_its_label() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (extra residual) is not installed")
    calibration = trained(0.8)
    entry = json.loads(coefficient_text(calibration, date(2026, 1, 2)))["families"]["elementwise"]
    read = parse_family("elementwise", entry)
    residual = calibration.families["elementwise"].residual
    assert residual is not None
    assert read.residual == residual
    assert read.held_out_error == residual.held_out_mape < entry["held_out_mape"]
    assert read.source.endswith("with a learned residual inside the measured shapes")


def test_step_laws_and_the_compiled_step_carry_the_same_correction() -> None:
    fitted = load("H200-SXM", "sglang")
    plain = fitted.family("elementwise")
    learned = replace(plain, residual=replace(BUMP, ranges={"bytes_moved": (1e3, 1e9)}))
    model, layout = catalog.model("Llama-3.1-8B"), Layout()
    precision = Precision("bf16", "bf16")
    laws = [
        step_law(
            model,
            ACCELERATOR,
            precision,
            layout,
            CoefficientSet("H200-SXM", "sglang", {**fitted.families, "elementwise": item}),
        )
        for item in (plain, learned)
    ]
    state = (16, 16384.0, 0, 0.0, 16, 16)
    assert laws[1] != laws[0]
    again = CoefficientSet("H200-SXM", "sglang", {"elementwise": learned}).laws_alone()
    assert again.family("elementwise") == plain
    exact = [sp.lambdify(each.symbols.all(), each.seconds(prefill=False), "math")(*state) for each in laws]
    assert exact[1] > 1.0001 * exact[0]
    compiled = compile_step(laws[1], 64, 64, 64)
    found = step_seconds(compiled.arrays(), compiled.scratch(), *state)
    assert found == pytest.approx(exact[1], rel=1e-9)
