"""Fitting the engine layers to measured points: two simulations a point, then a small fit an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from datetime import date
from functools import partial
from multiprocessing import get_context
from typing import Any, Final

import numpy as np

from llmopt_calibration.engine import CONSTANTS, engine_layer
from llmopt_calibration.engine.fitting import EngineFit, Responses
from llmopt_calibration.sources.serving_points import ServingPoint
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.validation.benches import Workshop
from llmopt_optimizer.validation.closed_loop import Latencies
from llmopt_optimizer.validation.predict import first_tokens, simulated
from llmopt_optimizer.validation.score import curve_of
from llmopt_problems import catalog
from llmopt_simulator import SimulationError

PROBE_STEP_S: Final = 0.5e-3
TIER: Final = "A"
"""Known image, no speculative decoding, consistent by Little's law: the only points that are fitted."""


def responses(points: Sequence[ServingPoint]) -> tuple[list[ServingPoint], Responses]:
    """The measured points that can be simulated, and how they answer to longer steps."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        neutral, probed = pool.map(partial(_simulate_all, points), (0.0, PROBE_STEP_S))
    found = [
        (point, base, longer)
        for point, base, longer in zip(points, neutral, probed, strict=True)
        if base is not None and longer is not None and point.ttft_s and point.tpot_s
    ]
    kept = [point for point, _, _ in found]
    return kept, _responses(kept, [base for _, base, _ in found], [longer for _, _, longer in found])


def transferred_responses(
    points: Sequence[ServingPoint], answers: Responses, distances: Sequence[float]
) -> list[Responses]:
    """The responses with operators of accelerators farther away than each of `distances` alone.

    A point that cannot be simulated so is NaN. What a longer step does is taken to be the same.
    """
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(partial(_simulate_all, points, 0.0), distances))
    return [_simulated_as(answers, latencies) for latencies in found]


def _simulated_as(answers: Responses, latencies: Sequence[Latencies | None]) -> Responses:
    ttft, tpot = (
        np.array([np.nan if item is None else getattr(item, name) for item in latencies])
        for name in ("ttft_s", "tpot_s")
    )
    return replace(answers, ttft_s=ttft, tpot_s=tpot)


def _simulate_all(
    points: Sequence[ServingPoint], probe_step_s: float, farther_than: float | None = None
) -> list[Latencies | None]:
    workshop = Workshop(probe_step_s, farther_than)
    return [_simulate(workshop, point) for point in points]


def _simulate(workshop: Workshop, point: ServingPoint) -> Latencies | None:
    try:
        return simulated(workshop, point)
    except (DeploymentError, SimulationError):
        return None


def _responses(
    points: Sequence[ServingPoint], neutral: Sequence[Latencies], probed: Sequence[Latencies]
) -> Responses:
    ttft, tpot = (np.array([getattr(item, name) for item in neutral]) for name in ("ttft_s", "tpot_s"))
    longer_ttft, longer_tpot = (
        np.array([getattr(item, name) for item in probed]) for name in ("ttft_s", "tpot_s")
    )
    return Responses(
        pair=np.array([f"{' on '.join(point.pair)}" for point in points]),
        curve=np.array([curve_of(point) for point in points]),
        layers=np.array([float(catalog.model(point.model).layer_count) for point in points]),
        loops=first_tokens(points),
        ttft_s=ttft,
        tpot_s=tpot,
        ttft_per_step_s=(longer_ttft - ttft) / PROBE_STEP_S,
        tpot_per_step_s=(longer_tpot - tpot) / PROBE_STEP_S,
        measured_ttft_s=np.array([float(point.ttft_s or np.nan) for point in points]),
        measured_tpot_s=np.array([float(point.tpot_s or np.nan) for point in points]),
    )


def layer_content(
    engine: str, found: EngineFit, provenance: Mapping[str, Any], settings: Mapping[str, Any], on: date
) -> dict[str, Any]:
    """The content of an engine's data file: fitted constants, held-out errors, settings as they were."""
    constants = {
        name: {
            "value": _rounded(found.constants[name].value),
            "interval": [_rounded(found.constants[name].low), _rounded(found.constants[name].high)],
            "unit": unit,
            "meaning": meaning,
        }
        for name, (unit, _, meaning) in CONSTANTS.items()
    }
    candidates = {
        name: {part: _rounded(error) for part, error in asdict(errors).items()}
        for name, errors in found.candidates.items()
    }
    return {
        "format": 1,
        "engine": engine,
        "date": on.isoformat(),
        "source": dict(provenance),
        "held_out_mape": {part: _rounded(error) for part, error in asdict(found.errors).items()},
        "tpot_measured_over_predicted": {
            percent: _rounded(ratio) for percent, ratio in found.tpot_errors.summary().items()
        },
        "held_out_mape_of_choices": candidates,
        "constants": constants,
        "settings": dict(settings),
    }


def settings_content(engine: str) -> dict[str, Any]:
    """The settings of the shipped layer of `engine`, as its file holds them."""
    settings = engine_layer(engine).settings
    names = type(settings).__dataclass_fields__
    values = {name: getattr(settings, name) for name in names}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
