"""Random systems under a watchdog: `python benchmarks/endurance.py [--cases N] [--workers W] [--limit S]`.

Every case is a random deployment, law and workload (`random_systems`): served with every invariant kept, or
refused with a named error. Prints what became of them, as Markdown; exit code 1 when a case broke an
invariant, failed in another way or hung.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from random_systems.cases import Outcome, run_case
from random_systems.watchdog import watched

FAULTS = ("broken", "failed", "hang")


def main() -> int:
    """Run the cases; 0 when all were served or refused."""
    parser = argparse.ArgumentParser(description="Random systems under a watchdog, as Markdown.")
    parser.add_argument("--cases", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds that a case may take (default 20)")
    arguments = parser.parse_args()
    cases = range(arguments.first, arguments.first + arguments.cases)
    outcomes = watched(run_case, cases, arguments.limit, arguments.workers)
    print(report(outcomes))
    return 1 if any(outcome.kind in FAULTS for outcome in outcomes) else 0


def report(outcomes: Sequence[Outcome]) -> str:
    """What became of the cases, in Markdown."""
    kinds = Counter(outcome.kind for outcome in outcomes)
    seen = Counter(name for o in outcomes for name, happened in (o.seen or {}).items() if happened)
    lines = ["| cases | served | refused | invariant broken | failed otherwise | hung |", "|" + " ---: |" * 6]
    numbers = [len(outcomes), *(kinds[kind] for kind in ("served", "refused", *FAULTS))]
    lines.append("| " + " | ".join(f"{number:,}" for number in numbers) + " |")
    lines.append(
        "Served runs with " + ", ".join(f"{name}: {number:,}" for name, number in seen.items()) + "."
    )
    faults = [outcome.reason for outcome in outcomes if outcome.kind in FAULTS]
    return "\n".join(lines + faults[:20])


if __name__ == "__main__":
    sys.exit(main())
