"""Fitting the engine layer: robust relative errors, whole (model, accelerator) pairs held out, few constants.

The response of a point to the constants is nearly linear, so a simulation at neutral constants and one with
every step lengthened give all that the fit needs:

    tpot = tpot0 + (dtpot/dstep) (step_s + layers layer_s)
    ttft = ttft0 + (dttft/dstep) (step_s + layers layer_s) + what a first token waits for (`first_token`)

Every pair weighs the same. Which constants are fitted at all is chosen by the error on held-out pairs: a
constant that does not help on pairs never seen stays at its neutral value. First tokens are judged by their
level and by their shape, the error that is left after one scale for each curve over users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from llmopt_calibration.engine.error_bars import ErrorDistribution, error_distribution
from llmopt_calibration.engine.first_token import FirstTokens, Numbers, added_s
from llmopt_calibration.engine.layer import CONSTANTS, EngineConstant

STEP_CHOICES: Final[tuple[tuple[str, ...], ...]] = ((), ("step_s",), ("layer_s",), ("step_s", "layer_s"))
FIRST_TOKEN_CONSTANTS: Final = (
    "delay_steps",
    "delay_polls",
    "handoff_steps",
    "input_token_s",
    "admission_s",
)
SCALES: Final[Mapping[str, float]] = {
    "step_s": 1e-3,
    "layer_s": 1e-5,
    "delay_steps": 5.0,
    "delay_polls": 0.5,
    "handoff_steps": 10.0,
    "input_token_s": 1e-5,
    "admission_s": 5e-3,
}
TPOT_TOLERANCE: Final = 0.1
TTFT_TOLERANCE: Final = 0.3
"""Relative errors at which the loss turns from square to absolute: what the issue asks of each."""
LEAST_GAIN: Final = 0.02
"""Share of the held-out error that a further constant must take off to be fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """What simulations say of measured points: one entry a point."""

    pair: NDArray[np.str_]
    curve: NDArray[np.str_]
    """Points that differ in their users alone share one."""
    layers: Numbers
    loops: FirstTokens
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
        loops = self.loops.only(chosen)
        parts = {name: getattr(self, name)[chosen] for name in self.__dataclass_fields__ if name != "loops"}
        return Responses(**parts, loops=loops)


@dataclass(frozen=True, slots=True)
class HeldOutErrors:
    """Mean absolute relative errors, macro-averaged over the pairs, each predicted by the others' fit."""

    tpot: float
    ttft: float
    ttft_shape: float
    """What is left of the error of TTFT after one scale for each curve over users."""


@dataclass(frozen=True, slots=True)
class EngineFit:
    """The constants of an engine with the held-out error of choosing and fitting them so."""

    constants: Mapping[str, EngineConstant]
    errors: HeldOutErrors
    tpot_errors: ErrorDistribution
    """Measured over predicted TPOT of pairs that were held out."""
    candidates: Mapping[str, HeldOutErrors]
    """Of every choice of constants that was tried."""


def predicted(points: Responses, constants: Mapping[str, float]) -> tuple[Numbers, Numbers]:
    """TTFT and TPOT of the points in seconds under `constants`; those not named are neutral."""
    step = constants.get("step_s", 0.0) + points.layers * constants.get("layer_s", 0.0)
    tpot = points.tpot_s + points.tpot_per_step_s * step
    ttft = points.ttft_s + points.ttft_per_step_s * step
    return ttft + added_s(points.loops, constants, tpot), tpot


def fit_engine(points: Responses) -> EngineFit:
    """Choose and fit the constants of one engine; every pair is held out once, whole."""
    firsts = _first_token_choices(points)
    tried = {(*s, *firsts[-1]): held_out_errors(points, (*s, *firsts[-1])) for s in STEP_CHOICES}
    steps = _chosen([(s, tried[(*s, *firsts[-1])].tpot) for s in STEP_CHOICES])
    tried |= {(*steps, *f): held_out_errors(points, (*steps, *f)) for f in firsts}
    first = _chosen([(f, tried[(*steps, *f)].ttft + tried[(*steps, *f)].ttft_shape) for f in firsts])
    named = {" + ".join(choice) or "none": error for choice, error in tried.items()}
    names = (*steps, *first)
    return EngineFit(_with_intervals(points, names), tried[names], _tpot_errors(points, names), named)


def _tpot_errors(points: Responses, names: tuple[str, ...]) -> ErrorDistribution:
    _, tpot = held_out_predictions(points, names)
    return error_distribution(points.measured_tpot_s / tpot, points.pair)


def _first_token_choices(points: Responses) -> list[tuple[str, ...]]:
    """Choices of constants that act on some of the points, the smallest first, all of them last."""
    idle = {
        "delay_polls": bool((points.loops.poll_steps == 1).all()),
        "handoff_steps": not points.loops.disaggregated.any(),
    }
    acting = [name for name in FIRST_TOKEN_CONSTANTS if not idle.get(name, False)]
    return [names for size in range(len(acting) + 1) for names in combinations(acting, size)]


def _chosen(options: Sequence[tuple[tuple[str, ...], float]]) -> tuple[str, ...]:
    """The option of least error; a longer one must beat every shorter one by `LEAST_GAIN`."""
    best, least = options[0]
    for names, error in options[1:]:
        needed = (1 - LEAST_GAIN) * least if len(names) > len(best) else least
        if error < needed:
            best, least = names, error
    return best


def held_out_errors(points: Responses, names: tuple[str, ...]) -> HeldOutErrors:
    """Errors when each pair is predicted by constants fitted to the others."""
    ttft, tpot = held_out_predictions(points, names)
    return HeldOutErrors(
        macro_error(points.pair, tpot / points.measured_tpot_s),
        macro_error(points.pair, ttft / points.measured_ttft_s),
        macro_error(points.pair, scaled_by_curve(ttft / points.measured_ttft_s, points.curve)),
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


def macro_error(pair: NDArray[np.str_], ratio: Numbers) -> float:
    """Mean absolute distance from 1 of predicted over measured in each pair, averaged over pairs."""
    return float(pd.Series(np.abs(ratio - 1)).groupby(pair).mean().mean())


def scaled_by_curve(ratio: ArrayLike, curve: ArrayLike) -> Numbers:
    """Predicted over measured after one scale, its median, for each curve; NaN where a curve is one point."""
    ratios = pd.Series(np.asarray(ratio, float))
    by_curve = ratios.groupby(np.asarray(curve))
    scaled = ratios / by_curve.transform("median")
    return scaled.where(by_curve.transform("count") > 1).to_numpy(float)


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
