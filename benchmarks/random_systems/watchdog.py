"""Cases in processes of their own, each within a time limit: one that hangs is killed and counted.

Compiled code cannot be interrupted from inside, so a worker process does the cases in turn and reports
each one; a parent that hears nothing for `limit_s` kills it, counts the case as a hang, and goes on with
the next one in a new process.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Final

from random_systems.cases import Outcome

RunCase = Callable[[int], Outcome]
START_LIMIT_S: Final = 900.0
"""A worker's first case may compile the kernel."""


def watched(run_case: RunCase, cases: Sequence[int], limit_s: float, workers: int = 1) -> list[Outcome]:
    """The outcomes of `cases` in their order, each reached within `limit_s` or a hang; a case that ends its
    process has failed.
    """
    shares = [cases[i::workers] for i in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(lambda share: list(_in_turn(run_case, share, limit_s)), shares))
    return [done[i % workers][i // workers] for i in range(len(cases))]


def _in_turn(run_case: RunCase, cases: Sequence[int], limit_s: float) -> Iterator[Outcome]:
    next_case = 0
    while next_case < len(cases):
        for outcome in _in_one_process(run_case, cases[next_case:], limit_s):
            next_case += 1
            yield outcome


def _in_one_process(run_case: RunCase, cases: Sequence[int], limit_s: float) -> Iterator[Outcome]:
    """Outcomes until the cases are done or one of them hangs or ends the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_work, args=(theirs, run_case, cases), daemon=True)
    worker.start()
    theirs.close()
    patience_s = START_LIMIT_S
    for case in cases:
        try:
            if not ours.poll(patience_s):
                yield Outcome("hang", f"case {case}: nothing within {patience_s:g} s")
                break
            yield ours.recv()
        except EOFError:
            yield Outcome("failed", f"case {case}: its process ended")
            break
        patience_s = limit_s
    worker.kill()
    worker.join()
    ours.close()


def _work(pipe: Connection, run_case: RunCase, cases: Sequence[int]) -> None:
    for case in cases:
        pipe.send(run_case(case))
