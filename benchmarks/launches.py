"""How long a process takes, against a Python that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from harness import Figure, Outcome, timed

LAUNCHES = 20


def _launch_seconds(launches: int, *command: str) -> float:
    """Median wall seconds of a process, after one launch to warm the file cache."""
    seconds = []
    for _ in range(launches + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def against_bare_python(phase: str, *arguments: str, smoke: bool) -> Outcome:
    """Launch Python with `arguments`; the baseline of the figure `seconds` is a bare launch."""
    launches = 2 if smoke else LAUNCHES
    seconds, spent = timed(phase, lambda: _launch_seconds(launches, sys.executable, *arguments))
    bare = _launch_seconds(launches, sys.executable, "-c", "pass")
    return Outcome((Figure("seconds", seconds, "s", bare),), (spent,))
