"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path` with the same suffix, then move it there in one step.

    Raises `OSError` as writing does; nothing is left behind then.
    """
    target = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(target)
        target.replace(path)
    finally:
        target.unlink(missing_ok=True)
