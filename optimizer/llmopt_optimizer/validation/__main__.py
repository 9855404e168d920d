"""`python -m llmopt_optimizer.validation`: fit the engine layers to points, write the accuracy page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

import llmopt_calibration.engine
from llmopt_calibration.engine.fitting import EngineFit, Responses, fit_engine, held_out_predictions
from llmopt_calibration.engine.layer import ENGINES
from llmopt_calibration.sources.serving_points import ServingPoint, ServingRows, read_serving_points
from llmopt_optimizer.output.files import write_files
from llmopt_optimizer.validation.decision import candidates, careful_decisions, plain_decisions
from llmopt_optimizer.validation.predict import Prediction, predict_rows
from llmopt_optimizer.validation.refit import (
    TIER,
    layer_content,
    responses,
    settings_content,
    transferred_responses,
)
from llmopt_optimizer.validation.report import Findings, accuracy_page
from llmopt_optimizer.validation.score import error_table

LEFT_OUT = {"most similar other": 0.0, "other generation": 0.5}
"""Which accelerators' tables are left out: those no farther than this (`llmopt_calibration.coefficients`)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, write the engines' data files and the page; returns the exit status."""
    options = _parser().parse_args(arguments)
    rows = read_serving_points(options.points)
    measured = [point for point in rows.points if point.tier == TIER]
    points, answers = responses(measured)
    engines = np.array([point.engine for point in points])
    fits = {engine: fit_engine(answers.only(engines == engine)) for engine in ENGINES}
    contents = {
        f"{engine}.json": _layer_text(engine, fits[engine], rows, points, options.date) for engine in ENGINES
    }
    write_files(options.layers, contents)
    llmopt_calibration.engine.engine_layer.cache_clear()
    found = _findings(rows, points, answers, fits)
    causes = options.causes or options.docs.with_name("accuracy_causes.md")
    wrong = causes.read_text(encoding="utf-8")
    write_files(options.docs.parent, {options.docs.name: accuracy_page(found, wrong)})
    return 0


def _layer_text(
    engine: str, fit: EngineFit, rows: ServingRows, points: Sequence[ServingPoint], on: date
) -> str:
    own = [point for point in points if point.engine == engine]
    provenance = {
        "points": f"{len(own)} serving points of tier {TIER} under {engine}",
        "sha256": rows.sha256,
        "rows": len(own),
        "pairs": sorted({" on ".join(point.pair) for point in own}),
    }
    content = layer_content(engine, fit, provenance, settings_content(engine), on)
    return json.dumps(content, indent=1) + "\n"


def _findings(
    rows: ServingRows, points: Sequence[ServingPoint], answers: Responses, fits: dict[str, EngineFit]
) -> Findings:
    """Everything that the page shows."""
    predictions = _held_out(points, answers, fits)
    others = transferred_responses(points, answers, tuple(LEFT_OUT.values()))
    left_out = [_errors(points, _held_out(points, answers, fits, other)) for other in others]
    choices = candidates(points, predictions)
    return Findings(
        _errors(points, predictions),
        error_table(rows.rows, predict_rows(rows.rows)),
        fits,
        plain_decisions(choices),
        careful_decisions(choices),
        dict(zip(LEFT_OUT, left_out, strict=True)),
    )


def _held_out(
    points: Sequence[ServingPoint],
    answers: Responses,
    fits: dict[str, EngineFit],
    of: Responses | None = None,
) -> list[Prediction]:
    """Every point (simulated as in `of`) under the constants that the other pairs of its engine gave."""
    ttft, tpot = np.empty(len(points)), np.empty(len(points))
    engines = np.array([point.engine for point in points])
    for engine, fit in fits.items():
        inside = engines == engine
        used = tuple(name for name, constant in fit.constants.items() if constant.high > 0)
        asked = None if of is None else of.only(inside)
        ttft[inside], tpot[inside] = held_out_predictions(answers.only(inside), used, asked)
    return [Prediction(*both) for both in zip(ttft.tolist(), tpot.tolist(), strict=True)]


def _errors(points: Sequence[ServingPoint], predictions: Sequence[Prediction]) -> pd.DataFrame:
    return error_table(points, predictions).assign(gpu=[point.accelerator for point in points])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m llmopt_optimizer.validation", description=__doc__)
    data = Path(llmopt_calibration.engine.__file__).parent / "data"
    parser.add_argument("--points", type=Path, required=True, help="CSV file of measured serving points")
    parser.add_argument("--docs", type=Path, required=True, help="Markdown page to write")
    parser.add_argument("--causes", type=Path, help="text on what is wrong; accuracy_causes.md beside --docs")
    parser.add_argument("--layers", type=Path, default=data, help="folder of the engines' data files")
    parser.add_argument("--date", type=date.fromisoformat, default=date.today(), help="date of the fit, ISO")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
