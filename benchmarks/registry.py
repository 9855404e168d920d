"""Every benchmark, by hand: a new one is a module of its name in `entries` and a line here."""

from __future__ import annotations

from harness import Benchmark

BENCHMARKS = (
    Benchmark(
        "quickstart_solve",
        "wall seconds of `llmopt solve quickstart`, start-up included",
        ("whole",),
    ),
    Benchmark(
        "import_time",
        "wall seconds of a process that imports llmopt, and all that a solve needs; baseline: a bare Python",
        ("facade", "solving"),
    ),
    Benchmark(
        "help_time",
        "wall seconds of `llmopt --help`; baseline: a bare Python",
        ("help",),
    ),
    Benchmark(
        "step_law",
        "compiled evaluations of a step a second; baselines: lambdified numpy on arrays and in calls, SymPy",
        ("build", "compile", "evaluate"),
    ),
    Benchmark(
        "columns",
        "configurations of a pool tabulated a second, states included; baseline: a Python loop over the same",
        ("compile", "tabulate"),
    ),
    Benchmark(
        "enumeration_agreement",
        "random small programs on which the columns route equals brute force; baseline: all of them",
        ("solve", "brute_force"),
    ),
)
