"""Predictions of serving points: the simulated loop plus the engine's delay, with what it is worth.

A prediction reads nothing that was measured of its row: model, layout, lengths and users alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from llmopt_calibration.coefficients import Basis
from llmopt_calibration.engine import engine_layer
from llmopt_calibration.engine.first_token import FirstTokens, added_s
from llmopt_calibration.sources.serving_points import PointError, ServingPoint
from llmopt_calibration.step import layout_violations
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.validation.benches import BASES, Workshop, bench_key, worst_basis
from llmopt_optimizer.validation.closed_loop import Latencies, loop_latencies
from llmopt_optimizer.validation.service import deployment_of, service_of
from llmopt_simulator import SimulationError

SMALL_TABLE = 60
"""Rows up to which a second process would cost more than it saves."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Mean latencies of a row and the worst basis behind them, or why there are none."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    basis: Basis | None = None
    error: str = ""


def predict_rows(rows: Sequence[ServingPoint | PointError], processes: int = 2) -> list[Prediction]:
    """A prediction of every row, in order; equal deployments are simulated once."""
    points = dict.fromkeys(_anonymous(row) for row in rows if isinstance(row, ServingPoint))
    predictions = _predict_all(sorted(points, key=_order), processes)
    return [
        predictions[_anonymous(row)] if isinstance(row, ServingPoint) else Prediction(error=str(row))
        for row in rows
    ]


def predict(workshop: Workshop, point: ServingPoint) -> Prediction:
    """The prediction of one point."""
    try:
        found = simulated(workshop, point)
    except (DeploymentError, SimulationError) as error:
        return Prediction(error=str(error))
    layer = workshop.bench(bench_key(point)).layer
    constants = {name: layer.value(name) for name in layer.constants}
    added = added_s(first_tokens([point]), constants, np.array([found.tpot_s]))
    return Prediction(found.ttft_s + float(added[0]), found.tpot_s, basis_of(workshop, point))


def first_tokens(points: Sequence[ServingPoint]) -> FirstTokens:
    """What the delay of the points' first tokens depends on."""
    return FirstTokens(
        input_tokens=np.array([(point.shortest_input + point.longest_input) / 2 for point in points]),
        disaggregated=np.array([float(point.mode == "disaggregated") for point in points]),
        poll_steps=np.array([float(engine_layer(p.engine).poll_steps(p.concurrency)) for p in points]),
        users=np.array([float(point.concurrency) for point in points]),
    )


def simulated(workshop: Workshop, point: ServingPoint) -> Latencies:
    """What the simulator alone says; `DeploymentError` for a layout that the engine cannot run."""
    _check_layouts(workshop, point)
    deployment = deployment_of(point)
    return loop_latencies(point, deployment, service_of(workshop, point, deployment))


def basis_of(workshop: Workshop, point: ServingPoint) -> Basis:
    """The worst basis of the operators that carry the time of the point's average steps."""
    bench = workshop.bench(bench_key(point))
    inputs = (point.shortest_input + point.longest_input) / 2
    outputs = (point.shortest_output + point.longest_output) / 2
    found: list[Basis] = []
    for pool in point.pools:
        batch = max(1.0, point.concurrency / (pool.instances * pool.layout.dp * pool.layout.pp))
        share = {"serve": inputs / outputs, "prefill": inputs, "decode": 0.0}[pool.role]
        held = 1.0 if pool.role == "prefill" else batch
        found.append(worst_basis(bench, pool.layout, held, inputs + outputs / 2, share))
    return max(found, key=BASES.index)


def _check_layouts(workshop: Workshop, point: ServingPoint) -> None:
    model = workshop.bench(bench_key(point)).model
    for pool in point.pools:
        for message in layout_violations(model, pool.layout):
            raise DeploymentError(f"{pool.role} pool: {message}")


def _anonymous(point: ServingPoint) -> ServingPoint:
    """The point without what does not change its prediction."""
    return replace(point, id="", tier="", engine_version="", source="", ttft_s=None, tpot_s=None)


def _order(point: ServingPoint) -> tuple[str, ...]:
    """Points of one bench and layout together."""
    return (point.model, point.accelerator, point.engine, point.weights, repr(point.pools))


def _predict_all(points: Sequence[ServingPoint], processes: int) -> dict[ServingPoint, Prediction]:
    if processes < 2 or len(points) <= SMALL_TABLE:
        return _predict_group(points)
    groups = _groups(points)
    found: dict[ServingPoint, Prediction] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in pool.map(_predict_group, groups):
            found |= part
    return found


def _groups(points: Sequence[ServingPoint]) -> list[list[ServingPoint]]:
    """Points by bench, those with the most simulated requests first."""
    groups: dict[tuple[str, ...], list[ServingPoint]] = {}
    for point in points:
        groups.setdefault(_order(point)[:4], []).append(point)
    return sorted(groups.values(), key=lambda group: -sum(point.concurrency for point in group))


def _predict_group(points: Sequence[ServingPoint]) -> dict[ServingPoint, Prediction]:
    workshop = Workshop()
    return {point: predict(workshop, point) for point in points}
