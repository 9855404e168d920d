"""`llmopt validate`: predict every row of a serving-points file, write the predictions, print the errors."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from llmopt_calibration.sources.serving_benchmarks import (
    is_serving_benchmark,
    parse_server,
    read_serving_benchmarks,
)
from llmopt_calibration.sources.serving_points import ServingRows, read_serving_points
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.validation.predict import predict_rows
from llmopt_optimizer.validation.score import error_table, summary, text
from llmopt_optimizer.validation.tables import predictions_csv


def run_validate(points: Path, out: Path, processes: int, server: str | None = None) -> ExitCode:
    """Predict the rows of `points` into the CSV file `out`; what was measured is compared, never read.

    Results of serving benchmarks need a `server`: what was served on what, as `parse_server` reads it.
    """
    rows = _read(points, server)
    prepare_directory(out.parent)
    start_s = time.perf_counter()
    predictions = predict_rows(rows.rows, processes)
    elapsed_s = time.perf_counter() - start_s
    write_files(out.parent, {out.name: predictions_csv(rows, predictions)})
    for reason, count in rows.refused.items():
        print(f"refused {count}: {reason}", file=sys.stderr)
    print(f"{len(rows.rows)} rows in {elapsed_s:.1f} s ({len(rows.rows) / elapsed_s:.0f} rows/s) -> {out}")
    table = error_table(rows.rows, predictions)
    for by in (("tier", "mode"), ("tier", "kind"), ("tier", "pair", "kind")):
        print(f"\nby {', '.join(by)} (percent, macro-averaged over model and GPU pairs)")
        print(text(summary(table, by)))
    return ExitCode.SOLVED


def _read(points: Path, server: str | None) -> ServingRows:
    try:
        if is_serving_benchmark(points.read_text(encoding="utf-8", errors="replace")):
            return read_serving_benchmarks(points, parse_server(server or ""))
        return read_serving_points(points)
    except OSError as error:
        raise InputError(f"{points}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(str(error)) from error
