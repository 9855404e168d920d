"""Fitting the engine layer: robust relative errors, whole (model, accelerator) pairs held out, few constants.

The response of a point to the constants is nearly linear, so a simulation at neutral constants and one with
every step lengthened give all that the fit needs:

    tpot = tpot0 + (dtpot/dstep) (step_s + layers layer_s)
    ttft = ttft0 + (dttft/dstep) (step_s + layers layer_s) + delay_polls poll_steps tpot
         + tokens input_token_s
         + handoff_s where prefill and decode are apart

Every pair weighs the same. Which constants are fitted at all is chosen by the error on held-out pairs: a
constant that does not help on pairs never seen stays at its neutral value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from llmopt_calibration.engine.layer import CONSTANTS, EngineConstant

Numbers = NDArray[np.float64]
STEP_CHOICES: Final[tuple[tuple[str, ...], ...]] = ((), ("step_s",), ("layer_s",), ("step_s", "layer_s"))
FIRST_TOKEN_CHOICES: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("delay_polls",),
    ("delay_polls", "input_token_s"),
    ("delay_polls", "handoff_s"),
    ("delay_polls", "input_token_s", "handoff_s"),
)
SCALES: Final[Mapping[str, float]] = {
    "step_s": 1e-3,
    "layer_s": 1e-5,
    "delay_polls": 1.0,
    "input_token_s": 1e-5,
    "handoff_s": 0.1,
}
TPOT_TOLERANCE: Final = 0.1
TTFT_TOLERANCE: Final = 0.3
"""Relative errors at which the loss turns from square to absolute: what the issue asks of each."""
LEAST_GAIN: Final = 0.02
"""Share of the held-out error that a further constant must take off to be fitted."""
_FULL_FIRST: Final = FIRST_TOKEN_CHOICES[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """What simulations say of measured points: one entry a point."""

    pair: NDArray[np.str_]
    layers: Numbers
    input_tokens: Numbers
    disaggregated: NDArray[np.bool_]
    poll_steps: Numbers
    """Decode steps between two looks of the scheduler at new requests."""
    ttft_s: Numbers
    tpot_s: Numbers
    """Simulated with neutral constants."""
    ttft_per_step_s: Numbers
    tpot_per_step_s: Numbers
    """Change by a second more a step."""
    measured_ttft_s: Numbers
    measured_tpot_s: Numbers

    def only(self, chosen: NDArray[np.bool_]) -> Responses:
        """The points of a mask."""
        return Responses(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class EngineFit:
    """The constants of an engine with the held-out error of choosing and fitting them so."""

    constants: Mapping[str, EngineConstant]
    held_out_tpot: float
    held_out_ttft: float
    """Mean absolute relative errors, macro-averaged over the pairs, each predicted by the others' fit."""
    candidates: Mapping[str, tuple[float, float]]
    """Held-out TPOT and TTFT error of every choice of constants."""


def predicted(points: Responses, constants: Mapping[str, float]) -> tuple[Numbers, Numbers]:
    """TTFT and TPOT of the points in seconds under `constants`; those not named are neutral."""
    step = constants.get("step_s", 0.0) + points.layers * constants.get("layer_s", 0.0)
    tpot = points.tpot_s + points.tpot_per_step_s * step
    ttft = points.ttft_s + points.ttft_per_step_s * step
    ttft = ttft + constants.get("delay_polls", 0.0) * points.poll_steps * tpot
    ttft = ttft + constants.get("input_token_s", 0.0) * points.input_tokens
    return ttft + constants.get("handoff_s", 0.0) * points.disaggregated, tpot


def fit_engine(points: Responses) -> EngineFit:
    """Choose and fit the constants of one engine; every pair is held out once, whole."""
    errors = {names: held_out_errors(points, names) for names in _choices()}
    steps = _chosen([(s, errors[(*s, *_FULL_FIRST)][0]) for s in STEP_CHOICES])
    first = _chosen([(f, errors[(*steps, *f)][1]) for f in FIRST_TOKEN_CHOICES])
    names = (*steps, *first)
    tpot, ttft = errors[names]
    named = {" + ".join(choice) or "none": error for choice, error in errors.items()}
    return EngineFit(_with_intervals(points, names), tpot, ttft, named)


def _choices() -> list[tuple[str, ...]]:
    return [(*steps, *first) for steps in STEP_CHOICES for first in FIRST_TOKEN_CHOICES]


def _chosen(options: Sequence[tuple[tuple[str, ...], float]]) -> tuple[str, ...]:
    """The option of least error; a longer one must beat every shorter one by `LEAST_GAIN`."""
    best, least = options[0]
    for names, error in options[1:]:
        needed = (1 - LEAST_GAIN) * least if len(names) > len(best) else least
        if error < needed:
            best, least = names, error
    return best


def held_out_errors(points: Responses, names: tuple[str, ...]) -> tuple[float, float]:
    """Macro errors of TPOT and TTFT when each pair is predicted by constants fitted to the others."""
    ttft, tpot = held_out_predictions(points, names)
    return (
        macro_error(points.pair, tpot, points.measured_tpot_s),
        macro_error(points.pair, ttft, points.measured_ttft_s),
    )


def held_out_predictions(
    points: Responses, names: tuple[str, ...], of: Responses | None = None
) -> tuple[Numbers, Numbers]:
    """TTFT and TPOT of every point by constants fitted to the other pairs; neutral when there are none.

    `of` are the same points simulated otherwise, for which the constants are then used.
    """
    asked = points if of is None else of
    ttft, tpot = np.empty_like(points.ttft_s), np.empty_like(points.tpot_s)
    for pair in np.unique(points.pair):
        inside = points.pair == pair
        constants = fit_constants(points.only(~inside), names) if not inside.all() else {}
        ttft[inside], tpot[inside] = predicted(asked.only(inside), constants)
    return ttft, tpot


def macro_error(pair: NDArray[np.str_], value: Numbers, measured: Numbers) -> float:
    """Mean absolute relative error of each pair, averaged over pairs."""
    errors = pd.Series(np.abs(value / measured - 1)).groupby(pair).mean()
    return float(errors.mean())


def fit_constants(points: Responses, names: tuple[str, ...]) -> dict[str, float]:
    """The constants `names`, none negative, of least robust relative error; every pair weighs the same."""
    if not names:
        return {}
    scales = np.array([SCALES[name] for name in names])
    weight = 1 / np.sqrt(pd.Series(points.pair).groupby(points.pair).transform("size").to_numpy(float))

    def residuals(scaled: Numbers) -> Numbers:
        ttft, tpot = predicted(points, dict(zip(names, scaled * scales, strict=True)))
        first = (ttft / points.measured_ttft_s - 1) / TTFT_TOLERANCE
        each = (tpot / points.measured_tpot_s - 1) / TPOT_TOLERANCE
        return np.concatenate([weight * first, weight * each])

    found: Any = least_squares(
        residuals, np.full(len(names), 0.5), bounds=(0.0, np.inf), loss="soft_l1", xtol=1e-10, ftol=1e-10
    )
    return {name: float(value) for name, value in zip(names, found.x * scales, strict=True)}


def _with_intervals(points: Responses, names: tuple[str, ...]) -> dict[str, EngineConstant]:
    """The constants fitted to all pairs, with their range when one pair is left out."""
    pairs = np.unique(points.pair)
    folds = (
        [fit_constants(points.only(points.pair != pair), names) for pair in pairs] if len(pairs) > 1 else []
    )
    whole = fit_constants(points, names)
    result = {}
    for name, (_, neutral, _) in CONSTANTS.items():
        value = whole.get(name, neutral)
        others = [fold.get(name, neutral) for fold in folds] or [value]
        result[name] = EngineConstant(value, min(value, *others), max(value, *others))
    return result
