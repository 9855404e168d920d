"""A back end that is left alone when it does not stop: a hanging solver ends as a limit, not as a hang.

The solve runs in a thread of its own, and both solvers leave Python's lock to others. One that is still at
work `GRACE_S` after its time limit is abandoned with its model, and asked nothing more.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

from .outcome import BackEnd, Outcome, SolveStatus

GRACE_S = 1.0


@dataclass(slots=True)
class WatchedBackEnd:
    """Any back end, watched."""

    inner: BackEnd
    name: str = field(init=False)
    linear_only: bool = field(init=False)
    abandoned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.name, self.linear_only = self.inner.name, self.inner.linear_only

    def solve(self, seconds: float | None) -> Outcome:
        """Solve within so many seconds, or say that the solver did not stop."""
        if self.abandoned:
            return Outcome(SolveStatus.ERROR, nan, -inf, 0.0, f"{self.name} was abandoned before")
        if seconds is None:
            return self.inner.solve(None)
        answers: list[Outcome | BaseException] = []
        worker = threading.Thread(target=_answer, args=(self.inner, seconds, answers), daemon=True)
        worker.start()
        worker.join(seconds + GRACE_S)
        if not answers:
            self.abandoned = True
            message = f"{self.name} did not stop at its time limit"
            return Outcome(SolveStatus.LIMIT, nan, -inf, seconds + GRACE_S, message)
        if isinstance(answers[0], BaseException):
            raise answers[0]
        return answers[0]

    def update_bounds(self, variables: list[Any]) -> None:
        """As the solver's own."""
        self.inner.update_bounds(variables)

    def add(self, constraint: Any) -> None:
        """As the solver's own."""
        self.inner.add(constraint)

    def remove(self, constraint: Any) -> None:
        """As the solver's own."""
        self.inner.remove(constraint)


def _answer(inner: BackEnd, seconds: float, answers: list[Outcome | BaseException]) -> None:
    try:
        answers.append(inner.solve(seconds))
    except BaseException as error:  # noqa: BLE001 - handed on to the thread that waits, which raises it
        answers.append(error)
