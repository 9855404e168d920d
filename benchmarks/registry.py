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
        "loop_quickstart",
        "wall seconds of solving quickstart until the gap over the simulator is closed, nothing cached",
        ("solve",),
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
        "solve_single",
        "wall seconds of a complete front, two objectives, 1.2e9 combinations; baseline: brute force "
        "by its rate on a sample; beside it NSGA-II and direct SCIP",
        ("expressions", "compile", "front"),
    ),
    Benchmark(
        "solve_huge",
        "wall seconds of a certified optimum among 2.2e12 combinations of unlike pools; baselines as above",
        ("expressions", "compile", "solve"),
    ),
    Benchmark(
        "solve_growth",
        "wall seconds of a front at 4,096 accelerators; baseline: at 8",
        ("small", "large"),
    ),
    Benchmark(
        "front_three",
        "wall seconds of a complete front of three objectives; baselines as of solve_single",
        ("expressions", "compile", "front"),
    ),
    Benchmark(
        "enumeration_agreement",
        "random small programs on which the columns route equals brute force; baseline: all of them",
        ("solve", "brute_force"),
    ),
    Benchmark(
        "sim_s1",
        "requests a CPU-second of S1: 16,000 on one 34B instance, all metrics; baseline: a plain Python loop",
        ("simulate", "measure", "plain_loop"),
    ),
    Benchmark(
        "sim_million",
        "CPU seconds of a million requests over 64 instances with cache-aware routing and prefix caches",
        ("draw", "simulate", "measure"),
    ),
    Benchmark(
        "sim_growth",
        "time per request of 10^6 requests over that of 10^4, and of 256 instances over that of one",
        ("few", "many", "one", "wide", "one_cache_aware", "wide_cache_aware"),
    ),
    Benchmark(
        "sim_cold_start",
        "wall seconds of a new process to its first metrics; baseline: importing numpy, numba and sympy",
        ("first", "launches"),
    ),
    Benchmark(
        "sim_loop_evaluation",
        "CPU seconds of five replications of 2,000 requests, drawn, simulated, measured and judged",
        ("evaluate",),
    ),
)
