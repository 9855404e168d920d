"""`python benchmarks/agreement.py [--programs N] [--first SEED]`: random programs against plain Python.

Every program of the tests' generator (`tests/optimizer/optimizer_core_random.py`) is solved for its whole
front twice, by enumeration of the pruned tables and by HiGHS, and both are compared with the judge of plain
loops. Prints how many there were, what they were like and every disagreement; exits 1 when there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType

from llmopt_optimizer.core.pareto import Front, FrontMethod, pareto
from llmopt_optimizer.core.preparation import compile_program
from llmopt_optimizer.core.program import Program

METHODS = {"enumeration": FrontMethod(audit_boxes=0), "solver": FrontMethod(join_cells=-1)}
TIGHT = 1e-9


def main() -> int:
    """Run the programs that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=20_000, help="seed of the first program")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "optimizer"))
    naive, generator = import_module("optimizer_core_naive"), import_module("optimizer_core_random")
    seen: Counter[str] = Counter()
    started = time.process_time()
    for seed in range(arguments.first, arguments.first + arguments.programs):
        _compare(seed, naive, generator, seen)
        done = seed + 1 - arguments.first
        if done % 500 == 0:
            print(f"{done} programs, {time.process_time() - started:.0f} CPU s: {dict(seen)}", flush=True)
    print(f"{arguments.programs} programs: {dict(seen)}")
    return 1 if seen["disagreement"] else 0


def _compare(seed: int, naive: ModuleType, generator: ModuleType, seen: Counter[str]) -> None:
    try:
        case = generator.random_case(seed, most_objectives=4)
    except AssertionError:  # its own iteration does not converge: it has no opinion
        seen["without a judge"] += 1
        return
    expected = naive.naive_front(case.program, case.points)
    compiled = compile_program(case.program)
    seen["feasible" if expected else "infeasible"] += 1
    seen[f"{len(case.program.objectives)} objectives"] += 1
    for name, method in METHODS.items():
        front = pareto(case.program, compiled, method=method)
        seen[f"{name}: {'complete' if front.complete else 'incomplete'}"] += 1
        if front.complete and not _same(_signed(case.program, front), expected):
            seen["disagreement"] += 1
            print(f"seed {seed}, {name}: {_signed(case.program, front)} instead of {expected}", flush=True)


def _signed(program: Program, front: Front) -> list[tuple[float, ...]]:
    signs = [objective.sign for objective in program.objectives]
    return [tuple(s * v for s, v in zip(signs, p.objectives, strict=True)) for p in front.points]


def _same(found: list[tuple[float, ...]], expected: list[tuple[float, ...]]) -> bool:
    """Each vector has a partner in the other list; both hold distinct vectors."""
    return len(found) == len(expected) and all(any(_equal(a, b) for b in expected) for a in found)


def _equal(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(abs(x - y) <= TIGHT * max(abs(x), abs(y)) for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    sys.exit(main())
