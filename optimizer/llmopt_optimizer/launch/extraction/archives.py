"""Python files inside wheels and source distributions."""

from __future__ import annotations

import ast
import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def modules(archive: Path, wanted: re.Pattern[str]) -> Mapping[str, ast.Module]:
    """The syntax trees of the files whose path inside the package matches `wanted`, by that path."""
    return {name: ast.parse(text) for name, text in sorted(_texts(archive, wanted).items())}


def version_of(archive: Path) -> str:
    """The version in the file name of a wheel or source distribution."""
    return archive.name.removesuffix(".tar.gz").split("-")[1]


def version_key(version: str) -> tuple[int, ...]:
    """What sorts releases by age: the numbers, post releases after their release."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _texts(archive: Path, wanted: re.Pattern[str]) -> dict[str, str]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {n: wheel.read(n).decode() for n in wheel.namelist() if wanted.fullmatch(n)}
    with tarfile.open(archive) as source:
        found = {}
        for member in source:
            inside = member.name.partition("/")[2]
            content = source.extractfile(member) if member.isfile() and wanted.fullmatch(inside) else None
            if content is not None:
                found[inside] = content.read().decode()
        return found
