"""One digest of many runs: `python benchmarks/digest.py [--cases N] [--workers W]` prints it.

Equal wherever it runs: in any process, with any number of workers, hash seed and version of Python.
"""

from __future__ import annotations

import argparse

from random_systems.digests import digest


def main() -> None:
    """Print the digest."""
    parser = argparse.ArgumentParser(description="One digest of many runs.")
    parser.add_argument("--cases", type=int, default=200, help="random systems (default 200)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    arguments = parser.parse_args()
    print(digest(range(arguments.cases), arguments.workers))


if __name__ == "__main__":
    main()
