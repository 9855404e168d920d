"""Problem files that users copy: each solves as it is, and its comments say what it shows."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def names() -> tuple[str, ...]:
    """Names of the bundled problems."""
    return tuple(sorted(file.stem for file in _folder().glob("*.yaml")))


def path(name: str) -> Path:
    """The file of a bundled problem; KeyError when there is none of that name."""
    if name not in names():
        raise KeyError(name)
    return _folder() / f"{name}.yaml"


def _folder() -> Path:
    return Path(str(files(__package__)))
