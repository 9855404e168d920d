"""`python -m llmopt_optimizer.validation.kernels`: refit the bundled coefficient files from tables.

Bundled files hold the full laws: the tables have thousands of shapes, so that no coefficient has to be saved
(the variants of `llmopt calibrate` are for the few shapes of a user).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import llmopt_calibration.coefficients
from llmopt_calibration.coefficients import fitted_pairs
from llmopt_calibration.fitting.calibrate import FamilyFit, fit_chosen
from llmopt_calibration.fitting.files import family_entry
from llmopt_calibration.fitting.variants import Choice, Variant
from llmopt_calibration.laws import law
from llmopt_calibration.sources import OperatorTables, find_tables, read_family, readable_families
from llmopt_optimizer.output.files import write_files
from llmopt_problems import catalog


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit the families asked for in every bundled file and write it; returns the exit status."""
    options = _parser().parse_args(arguments)
    tables = find_tables(options.tables)
    if tables is None:
        print(f"{options.tables}: no folder systems/data in it; give aiconfigurator_core", file=sys.stderr)
        return 2
    families = [name for name in sorted(readable_families()) if name.startswith(tuple(options.families))]
    for accelerator, engine in fitted_pairs():
        refit_file(options.files, tables, (accelerator, engine), families, options.date)
    return 0


def refit_file(
    folder: Path, tables: OperatorTables, pair: tuple[str, str], families: Sequence[str], on: date
) -> None:
    """Fit `families` of the file of an (accelerator, engine) again, keep the others, write it at once."""
    name = f"{pair[0]}.{pair[1]}.json"
    content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    for family in families:
        found = _fitted(tables, pair, family)
        content["families"].pop(family, None)
        if found is not None:
            content["families"][family] = family_entry(found, on)
            print(f"{name:24s} {family:24s} held-out {100 * found.fit.held_out_mape:5.1f} %", flush=True)
    content["families"] = dict(sorted(content["families"].items()))
    write_files(folder, {name: json.dumps(content, indent=1, allow_nan=False) + "\n"})


def _fitted(tables: OperatorTables, pair: tuple[str, str], family: str) -> FamilyFit | None:
    data = read_family(tables, *pair, family)
    if data is None:
        return None
    return fit_chosen(law(family), catalog.accelerator(pair[0]), data, Choice(Variant("full", {}), {}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llmopt_optimizer.validation.kernels", description=__doc__
    )
    files = Path(llmopt_calibration.coefficients.__file__).parent / "data"
    parser.add_argument(
        "--tables", type=Path, required=True, help="folder aiconfigurator_core of the package"
    )
    parser.add_argument("--families", nargs="*", default=[""], help="beginnings of the families to fit; all")
    parser.add_argument("--files", type=Path, default=files, help="folder of the bundled files")
    parser.add_argument("--date", type=date.fromisoformat, default=date.today(), help="date of the fit, ISO")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
