"""The table of proofs: `python benchmarks/proofs.py [--share S] [--only TEXT]` prints it as Markdown.

Each row is a system whose metric queueing theory knows in closed form, simulated in independent replications;
99 in 100 intervals should hold the exact value. Exit code 1 when one does not.
"""

from __future__ import annotations

import argparse
import sys

from queueing.table import HEADER, markdown, proofs, prove


def main() -> int:
    """Print the table; 0 when every interval holds its exact value."""
    parser = argparse.ArgumentParser(description="Simulated queues against closed forms, as Markdown.")
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of requests (default 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="systems whose name contains it")
    arguments = parser.parse_args()
    print(HEADER, flush=True)
    inside = True
    for proof, requests in proofs(share=arguments.share):
        if arguments.only in proof.system:
            row = prove(proof, requests)
            print(markdown(row), flush=True)
            inside &= row.inside
    return 0 if inside else 1


if __name__ == "__main__":
    sys.exit(main())
