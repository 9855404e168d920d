"""Time limits: a deadline is a reading of the monotonic clock, or None for no limit."""

from __future__ import annotations

import time


class DeadlineError(Exception):
    """The time limit came before the work was complete."""


def check_deadline(deadline: float | None) -> None:
    """Raise `DeadlineError` when the clock has passed the deadline."""
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineError("the time limit was reached; raise it, or shrink the search domains")


def remaining_seconds(deadline: float | None) -> float | None:
    """Seconds left, at least a millisecond; None without a limit."""
    return None if deadline is None else max(1e-3, deadline - time.monotonic())
