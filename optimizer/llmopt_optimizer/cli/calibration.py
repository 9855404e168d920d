"""`llmopt calibrate`: read measured operator times, fit the laws, write coefficients and a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table

from llmopt_calibration.coefficients.store import ENGINES
from llmopt_calibration.fitting import Calibration, calibrate
from llmopt_calibration.fitting.files import coefficient_text, file_name
from llmopt_calibration.fitting.summary import HEADINGS, summary_rows
from llmopt_calibration.fitting.transfer import transfer_rows, transfer_table, transfer_text
from llmopt_calibration.sources import Wanted, read_sources
from llmopt_calibration.sources.hardware_file import read_hardware
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.table import console_for, print_sections
from llmopt_problems import catalog
from llmopt_problems.hardware.spec import AcceleratorSpec

LEFT_COLUMNS = ("family", "variant", "refused rows", "source", "worst pair")
TRANSFER_HEADINGS = ("family", "pairs", "own error", "transferred", "worst pair")


@dataclass(frozen=True, slots=True)
class Calibrating:
    """The arguments of the command."""

    sources: tuple[Path, ...]
    accelerators: tuple[str, ...]
    hardware: Path | None
    engine: str
    out: Path
    on: str | None
    report: bool
    residual: bool = False


def run_calibrate(asked: Calibrating) -> ExitCode:
    """Write coefficient files and reports to `out`, print held-out errors by family.

    Several accelerators are each calibrated, and then each predicted by the others' coefficients.
    """
    specs, engine, on = _accelerators(asked), _engine(asked.engine), _date(asked.on)
    if asked.residual and find_spec("sklearn") is None:
        raise InputError("--residual needs scikit-learn: pip install 'llmopt[residual]'")
    prepare_directory(asked.out)
    names = frozenset(spec.name for spec in specs)
    found = [_calibrated(asked, Wanted(spec, engine, names - {spec.name})) for spec in specs]
    contents = [_contents(each, on, asked.report) for each in found]
    tables = [_table(_title(each), HEADINGS, summary_rows(each)) for each in found]
    if len(found) > 1:
        transfers = transfer_table(found)
        contents.append({f"transfer.{engine}.json": transfer_text(transfers, engine)})
        tables.append(_table("predicted by another accelerator", TRANSFER_HEADINGS, transfer_rows(transfers)))
    files = {name: text for each in contents for name, text in each.items()}
    write_files(asked.out, files)
    wrote = "\n".join(f"wrote {asked.out / name}" for name in files)
    print_sections([*tables, wrote], console_for(sys.stdout))
    return ExitCode.SOLVED


def _calibrated(asked: Calibrating, wanted: Wanted) -> Calibration:
    data = read_sources(asked.sources, wanted)
    found = calibrate(data, wanted.accelerator, wanted.engine, residual=asked.residual)
    _tell_uncorrected(found, asked.residual)
    for reason in found.skipped.values():
        print(f"not fitted: {reason}", file=sys.stderr)
    if not found.families:
        raise InputError(
            f"no family of {wanted.accelerator.name} has enough shapes to be fitted: measure more"
        )
    return found


def _tell_uncorrected(found: Calibration, asked: bool) -> None:
    plain = [name for name, fitted in found.families.items() if fitted.residual is None]
    if asked and plain:
        print(f"law alone, no residual predicts unseen shapes better: {', '.join(plain)}", file=sys.stderr)


def _contents(found: Calibration, on: date, report: bool) -> dict[str, str]:
    name = file_name(found)
    contents = {name: coefficient_text(found, on)}
    if report:
        from llmopt_calibration.fitting.report import report_html

        contents[name.removesuffix("json") + "html"] = report_html(found)
    return contents


def _title(found: Calibration) -> str:
    return f"{found.accelerator.name} under {found.engine}: errors on shapes that were never fitted"


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in LEFT_COLUMNS else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _accelerators(asked: Calibrating) -> list[AcceleratorSpec]:
    if bool(asked.accelerators) == (asked.hardware is not None):
        raise InputError(
            "say what was measured: --accelerator NAME, or --hardware FILE where the catalog has none"
        )
    if asked.hardware is not None:
        return [read_hardware(asked.hardware)]
    specs = {spec.name: spec for spec in map(catalog.accelerator, asked.accelerators)}
    return list(specs.values())


def _engine(name: str) -> str:
    if name not in ENGINES:
        raise InputError(f"engine {name!r} is unknown; choose {', '.join(ENGINES)}")
    return name


def _date(text: str | None) -> date:
    try:
        return date.today() if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--date {text}: {error}; write it as 2026-01-31") from error
