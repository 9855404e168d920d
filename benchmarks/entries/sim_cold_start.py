"""Seconds from launching a process to the metrics of its first run, with the kernel compiled before."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from harness import Figure, Outcome, timed

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from serving.scenarios import conversations, deployment, law, service
from llmopt_simulator import metrics, simulate
from llmopt_simulator.kernel.loop import run_words
metrics(simulate(conversations(200), deployment(), service(law(sys.argv[2], sys.argv[3]))))
print(sum(run_words.stats.cache_misses.values()))
"""
CHOICES = (("CodeLlama-34B", "A100-80GB"), ("Qwen3-32B", "H100-SXM"), ("Llama-3.1-8B", "L40S"))
"""Each another model on another accelerator than the run before: none may compile."""


def _launch(model: str, accelerator: str) -> tuple[float, int]:
    """Wall seconds of a process, and how many times it compiled the kernel."""
    here = str(Path(__file__).parents[1])
    start = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, here, model, accelerator]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, int(done.stdout)


def _bare() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy, numba, sympy"], check=True)
    return time.perf_counter() - start


def run(smoke: bool) -> Outcome:
    """Launch once so that the kernel lies on disk, then once for every choice of model and accelerator."""
    _, warming = timed("first", lambda: _launch(*CHOICES[0]))
    choices = CHOICES[:1] if smoke else CHOICES
    launches, launching = timed("launches", lambda: [_launch(*choice) for choice in choices])
    if any(compiled for _, compiled in launches):
        raise RuntimeError("another model or accelerator made the kernel compile again")
    seconds = median(seconds for seconds, _ in launches)
    bare = median(_bare() for _ in choices)
    return Outcome((Figure("seconds", seconds, "s", bare),), (warming, launching))
