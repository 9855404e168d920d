"""`llmopt calibrate`: read measured operator times, fit the laws, write coefficients and a report."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rich.table import Table

from llmopt_calibration.coefficients.store import ENGINES
from llmopt_calibration.fitting import Calibration, calibrate
from llmopt_calibration.fitting.files import coefficient_text, file_name
from llmopt_calibration.fitting.summary import HEADINGS, summary_rows
from llmopt_calibration.sources import Wanted, read_sources
from llmopt_calibration.sources.hardware_file import read_hardware
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.table import console_for, print_sections
from llmopt_problems import catalog
from llmopt_problems.hardware.spec import AcceleratorSpec

LEFT_COLUMNS = ("family", "variant", "refused rows", "source")


@dataclass(frozen=True, slots=True)
class Calibrating:
    """The arguments of the command."""

    sources: tuple[Path, ...]
    accelerator: str | None
    hardware: Path | None
    engine: str
    out: Path
    on: str | None
    report: bool


def run_calibrate(asked: Calibrating) -> ExitCode:
    """Write the coefficient file and the report to `out`, print held-out errors by family."""
    wanted = Wanted(_accelerator(asked), _engine(asked.engine))
    on = _date(asked.on)
    prepare_directory(asked.out)
    found = calibrate(read_sources(asked.sources, wanted), wanted.accelerator, wanted.engine)
    for reason in found.skipped.values():
        print(f"not fitted: {reason}", file=sys.stderr)
    if not found.families:
        raise InputError("no family has enough shapes to be fitted: measure more of them")
    write_files(asked.out, _contents(found, on, asked.report))
    print_sections([_table(found), f"wrote {asked.out / file_name(found)}"], console_for(sys.stdout))
    return ExitCode.SOLVED


def _contents(found: Calibration, on: date, report: bool) -> dict[str, str]:
    name = file_name(found)
    contents = {name: coefficient_text(found, on)}
    if report:
        from llmopt_calibration.fitting.report import report_html

        contents[name.removesuffix("json") + "html"] = report_html(found)
    return contents


def _table(found: Calibration) -> Table:
    title = f"{found.accelerator.name} under {found.engine}: errors on shapes that were never fitted"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in LEFT_COLUMNS else "right")
    for row in summary_rows(found):
        table.add_row(*row)
    return table


def _accelerator(asked: Calibrating) -> AcceleratorSpec:
    if (asked.accelerator is None) == (asked.hardware is None):
        raise InputError(
            "say what was measured: --accelerator NAME, or --hardware FILE where the catalog has none"
        )
    if asked.hardware is not None:
        return read_hardware(asked.hardware)
    return catalog.accelerator(str(asked.accelerator))


def _engine(name: str) -> str:
    if name not in ENGINES:
        raise InputError(f"engine {name!r} is unknown; choose {', '.join(ENGINES)}")
    return name


def _date(text: str | None) -> date:
    try:
        return date.today() if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--date {text}: {error}; write it as 2026-01-31") from error
