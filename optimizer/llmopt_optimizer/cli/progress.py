"""The progress line of a terminal: what the solve is doing, time gone, time left. Nothing when piped.

It is drawn on stderr and removed at the end, so stdout holds the answer alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from llmopt_optimizer import result


@contextmanager
def progress_shown(quiet: bool) -> Iterator[Callable[[result.Progress], None]]:
    """A function that shows each report; it does nothing when `quiet` or when stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda report: None
        return
    with _bar(Console(stderr=True)) as bar:
        task = bar.add_task("reading the problem", total=1.0)
        yield lambda report: bar.update(task, description=report.stage, completed=report.fraction)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    remaining = (TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("left"))
    return Progress(*columns, *remaining, console=console, transient=True)
