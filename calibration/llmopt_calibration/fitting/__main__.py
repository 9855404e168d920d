"""`python -m llmopt_calibration.fitting`: regenerate one data file of coefficients from operator tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from llmopt_calibration.coefficients.store import ENGINES
from llmopt_calibration.fitting.files import coefficient_file, write_json
from llmopt_calibration.sources import find_tables
from llmopt_problems import catalog


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit every family and write the file; returns the exit status."""
    options = _parser().parse_args(arguments)
    tables = find_tables(options.tables)
    if tables is None:
        print(
            f"{options.tables}: no folder systems/data in it; give the folder aiconfigurator_core",
            file=sys.stderr,
        )
        return 2
    content = coefficient_file(tables, catalog.accelerator(options.accelerator), options.engine, options.date)
    write_json(content, options.out)
    for family, entry in content["families"].items():
        print(
            f"{family:24s} {entry['training_rows']:6d} rows  held-out {100 * entry['held_out_mape']:5.1f} %"
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m llmopt_calibration.fitting", description=__doc__)
    parser.add_argument(
        "--tables", type=Path, required=True, help="folder aiconfigurator_core of the package"
    )
    parser.add_argument("--accelerator", required=True, help="catalog name, such as H200-SXM")
    parser.add_argument("--engine", required=True, choices=ENGINES)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--date", type=date.fromisoformat, default=date.today(), help="date of the fit, ISO")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
