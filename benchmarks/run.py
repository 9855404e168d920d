"""Run benchmarks: `python benchmarks/run.py [NAME …] --json FILE [--smoke] [--repeat N]`.

Every repeat is a fresh process: imports, caches in memory and peak memory of one do not reach the next.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from harness import Benchmark, Figure, Outcome, Phase, Row, rows
from registry import BENCHMARKS


def main() -> int:
    """Measure what the command line asks for; 0, or 1 when a benchmark failed, or 2 for a wrong name."""
    arguments = _parser().parse_args()
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        print(f"unknown benchmarks {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in arguments.names or known]
    if arguments.once:
        return _run_here(chosen[0], arguments.smoke)
    return _run_all(chosen, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run benchmarks of llmopt.")
    names = ", ".join(benchmark.name for benchmark in BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all without: {names}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each (default 5)")
    parser.add_argument("--smoke", action="store_true", help="one short run of each; numbers mean little")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    return parser


def _run_all(chosen: list[Benchmark], arguments: argparse.Namespace) -> int:
    found: list[Row] = []
    failed = []
    for benchmark in chosen:
        print(f"{benchmark.name}: {benchmark.measures}", flush=True)
        try:
            measured = _measure(benchmark, 1 if arguments.smoke else arguments.repeat, arguments.smoke)
        except subprocess.CalledProcessError as error:
            print(f"  failed:\n{error.stderr}", file=sys.stderr)
            failed.append(benchmark.name)
            continue
        found += measured
        _show(measured)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


def _measure(benchmark: Benchmark, repeats: int, smoke: bool) -> list[Row]:
    options = ["--once", *(["--smoke"] if smoke else [])]
    outcomes, peaks = [], []
    for _ in range(max(1, repeats)):
        command = [sys.executable, __file__, benchmark.name, *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        document = json.loads(done.stdout.splitlines()[-1])
        outcomes.append(_outcome(document))
        peaks.append(float(document["peak_bytes"]))
    return rows(benchmark.name, outcomes, peaks)


def _run_here(benchmark: Benchmark, smoke: bool) -> int:
    """The one run of a fresh process; its last line of output is the outcome."""
    outcome = benchmark.run(smoke)
    print(json.dumps({**asdict(outcome), "peak_bytes": _peak_bytes()}))
    return 0


def _outcome(document: dict[str, list[dict[str, object]]]) -> Outcome:
    figures = tuple(Figure(**entry) for entry in document["figures"])  # type: ignore[arg-type]
    phases = tuple(Phase(**entry) for entry in document["phases"])  # type: ignore[arg-type]
    return Outcome(figures, phases)


def _peak_bytes() -> int:
    """Peak resident memory of this process or its largest child; Linux counts in KiB."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(who).ru_maxrss for who in both) * unit


def _show(measured: list[Row]) -> None:
    for row in measured:
        against = "" if row["ratio"] is None else f"  ({row['ratio']:.3g} x baseline {row['baseline']:.4g})"
        print(f"  {row['metric']:<36} {row['value']:>12.5g} {row['unit']}{against}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
