"""The engine layer: planted constants are found, useless ones are not fitted, pairs are held out whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmopt_calibration.coefficients import load
from llmopt_calibration.engine import CONSTANTS, EngineSettings, engine_layer
from llmopt_calibration.engine.first_token import FirstTokens
from llmopt_calibration.engine.fitting import (
    FIRST_TOKEN_CONSTANTS,
    Responses,
    fit_constants,
    fit_engine,
    held_out_predictions,
    predicted,
    scaled_by_curve,
)
from llmopt_calibration.engine.memory import MemoryTerms, cache_tokens
from llmopt_problems import catalog

ENGINES = ("sglang", "vllm", "trtllm")


def points(constants: dict[str, float], *, noise: float = 0.0) -> Responses:
    """Four pairs of thirty points each, measured as `constants` say."""
    rng = np.random.default_rng(4)
    count, pairs = 120, 4
    bare = Responses(
        pair=np.repeat([f"pair {number}" for number in range(pairs)], count // pairs),
        curve=np.repeat([f"curve {number}" for number in range(24)], 5),
        layers=np.repeat([32.0, 61.0, 80.0, 94.0], count // pairs),
        loops=FirstTokens(
            input_tokens=rng.choice([900.0, 7400.0], count),
            disaggregated=(rng.random(count) < 0.3).astype(float),
            poll_steps=rng.choice([1.0, 3.0], count),
            users=rng.choice([1.0, 16.0, 256.0], count),
        ),
        ttft_s=rng.uniform(0.03, 2.0, count),
        tpot_s=rng.uniform(0.005, 0.08, count),
        ttft_per_step_s=rng.uniform(2.0, 20.0, count),
        tpot_per_step_s=rng.uniform(1.0, 1.3, count),
        measured_ttft_s=np.ones(count),
        measured_tpot_s=np.ones(count),
    )
    ttft, tpot = predicted(bare, constants)
    shaken = np.exp(noise * rng.standard_normal((2, count)))
    return replace(bare, measured_ttft_s=ttft * shaken[0], measured_tpot_s=tpot * shaken[1])


PLANTED = {
    "step_s": 8e-4,
    "layer_s": 2e-5,
    "delay_steps": 7.0,
    "delay_polls": 0.6,
    "handoff_steps": 12.0,
    "input_token_s": 1.5e-5,
    "admission_s": 6e-3,
}


def test_planted_constants_are_recovered() -> None:
    found = fit_constants(points(PLANTED), tuple(PLANTED))
    assert found == pytest.approx(PLANTED, rel=1e-4)


def test_predictions_are_the_formula() -> None:
    one = points({}).only(np.arange(120) == 17)
    ttft, tpot = predicted(one, PLANTED)
    step = PLANTED["step_s"] + one.layers[0] * PLANTED["layer_s"]
    expected = one.tpot_s[0] + one.tpot_per_step_s[0] * step
    first = one.ttft_s[0] + one.ttft_per_step_s[0] * step
    loop = one.loops
    waited = PLANTED["delay_steps"] + PLANTED["delay_polls"] * (loop.poll_steps[0] - 1)
    first += (waited + PLANTED["handoff_steps"] * loop.disaggregated[0]) * expected
    first += PLANTED["input_token_s"] * loop.input_tokens[0]
    # Of ten requests a user only the first arrives in the burst, on average behind half of the other users.
    first += PLANTED["admission_s"] * (loop.users[0] - 1) / 2 / 10
    assert (ttft[0], tpot[0]) == (pytest.approx(first), pytest.approx(expected))


def test_constants_that_do_nothing_stay_neutral() -> None:
    fit = fit_engine(points({"delay_steps": 9.0}, noise=0.05))
    values = {name: constant.value for name, constant in fit.constants.items()}
    assert values["delay_steps"] == pytest.approx(9.0, rel=0.1)
    assert {name for name, value in values.items() if value} == {"delay_steps"}
    assert fit.errors.ttft < 0.06


def test_useful_constants_are_chosen_with_an_interval_around_them() -> None:
    fit = fit_engine(points({"layer_s": 6e-5, "delay_steps": 9.0}, noise=0.02))
    layer = fit.constants["layer_s"]
    assert layer.low <= layer.value <= layer.high
    assert layer.value == pytest.approx(6e-5, rel=0.05)
    assert fit.errors.tpot < fit.candidates[" + ".join(FIRST_TOKEN_CONSTANTS)].tpot / 2


def test_constants_that_act_on_no_point_are_not_tried() -> None:
    whole = points({"delay_steps": 9.0}, noise=0.05)
    together = replace(whole.loops, disaggregated=np.zeros(120), poll_steps=np.ones(120))
    tried = " ".join(fit_engine(replace(whole, loops=together)).candidates)
    assert "handoff_steps" not in tried
    assert "delay_polls" not in tried


def test_shape_is_what_one_scale_a_curve_leaves() -> None:
    scaled = scaled_by_curve([2.0, 2.0, 3.0, 0.5], ["a", "a", "a", "alone"])
    assert scaled[:3].tolist() == [1.0, 1.0, 1.5]
    assert np.isnan(scaled[3])


def test_a_held_out_pair_does_not_see_its_own_measurements() -> None:
    honest = points(PLANTED, noise=0.1)
    inside = honest.pair == "pair 2"
    swollen = replace(honest, measured_ttft_s=np.where(inside, 50.0, honest.measured_ttft_s))
    names = ("delay_steps", "input_token_s")
    before, after = (held_out_predictions(data, names)[0] for data in (honest, swollen))
    assert np.array_equal(before[inside], after[inside])
    assert not np.allclose(before[~inside], after[~inside])


@pytest.mark.parametrize("engine", ENGINES)
def test_shipped_layers_are_complete(engine: str) -> None:
    layer = engine_layer(engine)
    assert set(layer.constants) == set(CONSTANTS)
    assert all(0 <= item.low <= item.value <= item.high for item in layer.constants.values())
    assert set(layer.settings.sources) <= set(EngineSettings.__dataclass_fields__)
    assert 0 < layer.held_out_tpot < 0.25
    step = load("H200-SXM", engine).family("engine_step")
    assert step.values == {name: layer.value(name) for name in ("step_s", "layer_s")}


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ValueError, match="sglang, vllm, trtllm"):
        engine_layer("tgi")


@pytest.mark.parametrize(
    ("rule", "pool"),
    [("static", 0.8 * 100 - 40), ("peak", 0.8 * 100 - 40 - 6 - 2), ("free", 0.8 * (100 - 40 - 6 - 4))],
)
def test_every_engine_has_its_own_meaning_of_a_memory_fraction(rule: str, pool: float) -> None:
    settings = replace(engine_layer("vllm").settings, memory_rule=rule)  # type: ignore[arg-type]
    terms = MemoryTerms(weights=40, activations=6, reserve=4, state_per_sequence=0.5, kv_per_token=0.25)
    assert cache_tokens(terms, settings, 100, 0.8, 8) == pytest.approx((pool - 4) / 0.25)


def test_a_checkpoint_published_in_four_bits_keeps_a_wide_cache() -> None:
    layer = engine_layer("trtllm")
    assert layer.kv_precision(catalog.model("gpt-oss-120b"), "fp4") == "bf16"
    assert layer.kv_precision(catalog.model("DeepSeek-R1"), "fp4") == "fp8"
