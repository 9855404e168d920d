"""Files that appear whole or not at all.

A set of files is first written under temporary names in the target directory and flushed to disk; only when
all of them are complete are they renamed into place, one after the other. A failure before that leaves what
stood there untouched and removes the temporary files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class OutputError(Exception):
    """A file that cannot be written or read: which, why, and what to do."""

    def __init__(self, path: str | Path, rule: str, remedy: str) -> None:
        super().__init__(f"{path}: {rule}; {remedy}")
        self.path = Path(path)
        self.rule = rule
        self.remedy = remedy


def prepare_directory(directory: str | Path) -> Path:
    """`directory` as a path that exists and can be written to; created with its parents when missing.

    Called before a long solve, so that an unwritable directory is known at once. Raises `OutputError`.
    """
    target = Path(directory)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        raise _refused(target, error) from error
    return target


def write_files(directory: str | Path, contents: Mapping[str, str | bytes]) -> None:
    """Write `contents` (file name to text or bytes) into an existing `directory`, all complete or none.

    Raises `OutputError` when the disk refuses; files of an earlier call then still hold their old content.
    """
    target = Path(directory)
    staged: list[tuple[Path, Path]] = []
    try:
        for name, content in contents.items():
            staged.append((_staged(target, name, content), target / name))
        for temporary, final in staged:
            temporary.replace(final)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


def _refused(directory: Path, error: OSError) -> OutputError:
    rule = f"cannot be written to ({error.strerror or error})"
    return OutputError(directory, rule, "free space there or choose another --out directory")


def _staged(directory: Path, name: str, content: str | bytes) -> Path:
    """A flushed temporary file beside its target, on the same file system, so that the rename is atomic."""
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=f".{name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink(missing_ok=True)
        raise
    return Path(temporary)


def _umask() -> int:
    """The process's file mode mask, which `mkstemp` ignores; reading it means setting it twice."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
