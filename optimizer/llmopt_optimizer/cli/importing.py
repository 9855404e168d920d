"""`llmopt import`: what other tools have, as a problem file that says what it assumes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_problems.document import check_tree, compose, plain
from llmopt_problems.imports import FORMATS, ImportFormat, draft_text, read_draft
from llmopt_problems.imports.draft import assumed, with_overrides
from llmopt_problems.loading import load_text


@dataclass(frozen=True, slots=True)
class Importing:
    """The arguments of the command."""

    source: Path
    kind: str | None
    part: str | None
    overrides: tuple[str, ...]
    out: Path | None


def run_import(asked: Importing) -> ExitCode:
    """Write the problem to `out` or print it; what is assumed is told on stderr."""
    draft = read_draft(asked.source, _format(asked.kind), asked.part)
    draft = with_overrides(draft, dict(_override(each) for each in asked.overrides))
    text = draft_text(draft, str(asked.source))
    directory = Path() if asked.out is None else asked.out.parent
    load_text(text, str(asked.out or "the imported problem"), directory)  # refuses what is no problem
    if asked.out is None:
        sys.stdout.write(text)
    else:
        prepare_directory(asked.out.parent)
        write_files(asked.out.parent, {asked.out.name: text})
    _tell((f"assumed {path}: {leaf.value} ({leaf.why})" for path, leaf in assumed(draft).items()))
    _tell(f"left out: {each}" for each in draft.left_out)
    if draft.today:
        _tell([f"what runs today: --deployment {draft.today}"])
    return ExitCode.SOLVED


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _format(name: str | None) -> ImportFormat | None:
    for known in FORMATS:
        if name == known:
            return known
    if name is None:
        return None
    raise InputError(f"--format {name}: give one of {', '.join(FORMATS)}")


def _override(option: str) -> tuple[str, Any]:
    path, equals, value = option.partition("=")
    if not equals or not path or not value.strip():
        raise InputError(f"--set {option}: write path=value, such as hardware.accelerators.0.count=16")
    root = compose(value, f"--set {option}")
    check_tree(root)
    return path, plain(root)
