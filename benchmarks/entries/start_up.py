"""How long the program takes to start: importing the facade, and answering `--help`."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from harness import Benchmark, Figure, Outcome, timed

LAUNCHES = 20


def _launch_seconds(launches: int, *command: str) -> float:
    """Median wall seconds of a process, after one launch to warm the file cache."""
    seconds = []
    for _ in range(launches + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def _against_bare_python(phase: str, *arguments: str, smoke: bool) -> Outcome:
    launches = 2 if smoke else LAUNCHES
    seconds, spent = timed(phase, lambda: _launch_seconds(launches, sys.executable, *arguments))
    bare = _launch_seconds(launches, sys.executable, "-c", "pass")
    return Outcome((Figure("seconds", seconds, "s", bare),), (spent,))


def run_import(smoke: bool) -> Outcome:
    """Import the facade and reach everything that a solve needs."""
    facade = _against_bare_python("facade", "-c", "import llmopt", smoke=smoke)
    everything = "import llmopt, llmopt_optimizer.loop, llmopt_optimizer.answer"
    solving = _against_bare_python("solving", "-c", everything, smoke=smoke)
    solving_figure = Figure("solving_seconds", solving.figures[0].value, "s", solving.figures[0].baseline)
    return Outcome((*facade.figures, solving_figure), (*facade.phases, *solving.phases))


def run_help(smoke: bool) -> Outcome:
    """`python -m llmopt --help`, which is what the `llmopt` script does."""
    return _against_bare_python("help", "-m", "llmopt", "--help", smoke=smoke)


IMPORT_TIME = Benchmark(
    "import_time",
    "wall seconds of a process that imports llmopt, and all that a solve needs; baseline: a bare Python",
    ("facade", "solving"),
    run_import,
)
HELP_TIME = Benchmark(
    "help_time", "wall seconds of `llmopt --help`; baseline: a bare Python", ("help",), run_help
)
