"""A result as pandas frames: one row a deployment, a round or a check, in the SI units of the result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import pandas as pd

from llmopt_optimizer.result import Point, Result
from llmopt_problems.deployment import Deployment, PoolDeployment

Cell = str | float | int | bool


def front(result: Result) -> pd.DataFrame:
    """Verified deployments, one row each, sorted by the first objective: the content of `pareto.csv`.

    Columns: decisions (`mode`, `router`, `prefix_cache`, `gpus`, and for each pool `serve_tp`,
    `decode_instances`, …), `predicted_M`, `simulated_M`, `simulated_M_low` and `simulated_M_high` of every
    metric M, then `bound`, `gap`, `status`, `binding` and `violated`. A pool that a deployment does not have
    and a metric that was not measured are missing values.
    """
    return _points(result.front, metric_names(result))


def cut(result: Result) -> pd.DataFrame:
    """Deployments that simulation refused, with the columns of `front`."""
    return _points(result.cut, metric_names(result))


def rounds(result: Result) -> pd.DataFrame:
    """One row a round of the loop."""
    return pd.DataFrame([asdict(turn) for turn in result.rounds])


def checks(result: Result) -> pd.DataFrame:
    """One row an independent check of the solver's claims."""
    return pd.DataFrame([asdict(check) for check in result.checks])


def metrics(result: Result) -> pd.DataFrame:
    """Long form: one row a verified deployment (numbered from 1) and metric; predicted beside simulated."""
    return pd.DataFrame(
        [
            {"deployment": index, **_metric_row(point, name)}
            for index, point in enumerate(result.front, start=1)
            for name in metric_names(result)
        ],
        columns=["deployment", "metric", "predicted", "simulated", "low", "high"],
    )


def metric_names(result: Result) -> tuple[str, ...]:
    """Every metric that any point carries, the objectives first."""
    points = (*result.front, *result.cut)
    found = (name for point in points for name in (*point.predicted, *point.simulated))
    return tuple(dict.fromkeys((*result.objectives, *found)))


def _metric_row(point: Point, name: str) -> dict[str, Cell]:
    row: dict[str, Cell] = {"metric": name, "predicted": point.predicted.get(name, float("nan"))}
    estimate = point.simulated.get(name)
    if estimate is not None:
        row |= {"simulated": estimate.value, "low": estimate.low, "high": estimate.high}
    return row


def _points(points: Sequence[Point], names: Sequence[str]) -> pd.DataFrame:
    fixed = ("mode", "router", "prefix_cache", "gpus")
    rows = [_point_row(point) for point in points]
    decisions = dict.fromkeys(key for point in points for key in _decisions(point.deployment))
    measured = [column for name in names for column in _metric_columns(name)]
    last = ("bound", "gap", "status", "binding", "violated")
    return pd.DataFrame(rows, columns=list(dict.fromkeys((*fixed, *decisions, *measured, *last))))


def _metric_columns(name: str) -> tuple[str, str, str, str]:
    return f"predicted_{name}", f"simulated_{name}", f"simulated_{name}_low", f"simulated_{name}_high"


def _point_row(point: Point) -> dict[str, Cell]:
    row: dict[str, Cell] = dict(_decisions(point.deployment))
    row |= {f"predicted_{name}": value for name, value in point.predicted.items()}
    for name, estimate in point.simulated.items():
        _, value, low, high = _metric_columns(name)
        row |= {value: estimate.value, low: estimate.low, high: estimate.high}
    row |= {"bound": point.bound, "gap": point.gap, "status": point.verdict.value}
    return row | {"binding": _joined(point.binding), "violated": _joined(point.violated)}


def _decisions(deployment: Deployment) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "mode": deployment.mode,
        "router": deployment.router,
        "prefix_cache": deployment.prefix_cache,
        "gpus": deployment.gpus,
    }
    for pool in deployment.pools:
        row |= {f"{pool.role}_{name}": value for name, value in pool_decisions(pool).items()}
    return row


def pool_decisions(pool: PoolDeployment) -> dict[str, Cell]:
    """The decisions of a pool by name, as the columns of result files call them."""
    return {
        "accelerator": pool.accelerator,
        **asdict(pool.layout),
        "instances": pool.instances,
        "gpus": pool.gpus,
        "chunk_tokens": pool.chunk_tokens,
        "batch_cap": pool.batch_cap,
    }


def _joined(words: Iterable[str]) -> str:
    return "; ".join(words)
