"""What workers are given in their tests: functions that other processes can import."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def square(number: int) -> int:
    """The square of a number."""
    return number * number


def refused(number: int) -> int:
    """Never a number."""
    raise ValueError(f"no {number}")


def dies_once(marker: Path, number: int) -> int:
    """Squares; the first process to come to 7 is killed."""
    if number == 7:
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return square(number)
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)


def dies(number: int) -> int:
    """Kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number
