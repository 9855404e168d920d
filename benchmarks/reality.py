"""The table of reality: `python benchmarks/reality.py [--skew on|off] [--residuals]` prints it as Markdown.

Each row is a run of a real engine, replayed with the kernel times of its accelerator, its engine's settings
and its engine's policy. Nothing in the law was fitted to the run. Exit code 1 when there is no data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from replays.measured import DATA, measured_runs
from replays.table import (
    HEADER,
    RESIDUAL_HEADER,
    WAIT_HEADER,
    Comparison,
    compare,
    held_out_overhead_s,
    residual_rows,
    rows,
    wait_rows,
)

SKEW = {"profile": None, "on": True, "off": False}


def main() -> int:
    """Print the table; 0 when there was something to compare."""
    parser = argparse.ArgumentParser(description="Simulated runs beside measured ones, as Markdown.")
    help_skew = "unequal contexts of a batch: as the profile's meta.yaml says (default), or always, or never"
    parser.add_argument("--skew", choices=tuple(SKEW), default="profile", help=help_skew)
    parser.add_argument(
        "--residuals", action="store_true", help="where errors come from: by load and by wait"
    )
    arguments = parser.parse_args()
    comparisons = [compare(run) for run in measured_runs(skewed=SKEW[arguments.skew])]
    if not comparisons:
        print(f"no measured runs at {DATA}", file=sys.stderr)
        return 1
    _print(HEADER, [row for comparison in comparisons for row in rows(comparison)])
    _print_overheads(comparisons)
    if arguments.residuals:
        _print(RESIDUAL_HEADER, [row for comparison in comparisons for row in residual_rows(comparison)])
        _print(WAIT_HEADER, [row for comparison in comparisons for row in wait_rows(comparison)])
    return 0


def _print(header: str, lines: Sequence[str]) -> None:
    print(header, *lines, sep="\n", end="\n\n")


def _print_overheads(comparisons: Sequence[Comparison]) -> None:
    for comparison in comparisons:
        others = [other for other in comparisons if other is not comparison]
        missing_ms = held_out_overhead_s(others) * 1e3
        print(
            f"{comparison.run.name}: a step lasts {missing_ms:+.2f} ms beyond its kernels in the other runs"
        )
    print()


if __name__ == "__main__":
    sys.exit(main())
