"""What is wrong with a source of measurements: which file, what, and what to do."""

from __future__ import annotations

from pathlib import Path


class SourceError(ValueError):
    """A file that is no usable source; the text is the finished message for the user."""

    def __init__(self, path: str | Path, what: str, remedy: str) -> None:
        super().__init__(f"{path}: {what}; {remedy}")
        self.path = str(path)
        self.what = what
        self.remedy = remedy
