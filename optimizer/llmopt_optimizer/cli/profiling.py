"""`llmopt profile`: run the microbenchmarks of this machine into a CSV, row by row."""

from __future__ import annotations

import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from llmopt_calibration.profiling.plan import SIZES, Size
from llmopt_calibration.profiling.table import MEASURED_FAMILIES
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.output.files import prepare_directory

if TYPE_CHECKING:
    from llmopt_calibration.profiling.run import Profiling


def run_profile(device: str, size: str | None, families: tuple[str, ...], out: Path) -> ExitCode:
    """Measure what `out` does not hold yet; an interrupt keeps every row."""
    if find_spec("torch") is None:
        raise InputError("PyTorch is not installed: pip install 'llmopt[profile]'")
    from llmopt_calibration.profiling.run import NoDeviceError, Profiling

    if device != "cpu" and device.partition(":")[0] != "cuda":
        raise InputError(f"device {device!r} is unknown: write cuda, cuda:1 or cpu")
    asked = Profiling(device, _size(size, device), out, _families(families))
    prepare_directory(out.parent)
    try:
        return _measure(asked)
    except NoDeviceError as error:
        raise InputError(str(error)) from error
    except KeyboardInterrupt:
        print(f"interrupted: the rows so far are in {out}; the same command goes on", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _measure(asked: Profiling) -> ExitCode:
    from llmopt_calibration.profiling.run import describe, measure

    print(f"measuring {describe(asked.device).device}, size {asked.size}, into {asked.out}", file=sys.stderr)
    done: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for step in measure(asked):
        done[step.case.family] += step.timing is not None
        skipped[f"{step.case.family}: {step.reason}"] += step.timing is None
        _show(f"{step.left} left, {step.case.family}")
    for reason, count in (+skipped).items():
        print(f"not measured {count}: {reason}", file=sys.stderr)
    print(f"measured {sum(done.values())} shapes -> {asked.out}")
    return ExitCode.SOLVED


def _show(text: str) -> None:
    """Overwrite the terminal's line; nothing where there is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _size(name: str | None, device: str) -> Size:
    if name is None:
        return "tiny" if device == "cpu" else "full"
    for size in SIZES:
        if name == size:
            return size
    raise InputError(f"size {name!r} is unknown; choose {', '.join(SIZES)}")


def _families(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in MEASURED_FAMILIES]
    if unknown:
        raise InputError(f"family {unknown[0]!r} is not measured; choose of {', '.join(MEASURED_FAMILIES)}")
    return names
