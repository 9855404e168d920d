"""What is wrong with an input: a fault says what, where, which value, which rule and what to do next.

A `Fault` is one finding as data; a `ProblemError` carries one or more of them, and its text is the finished
message for the user. Every reader of this room raises nothing else for bad input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

VALUE_WIDTH = 60
"""Longest value that a message quotes in full."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input."""

    what: str
    rule: str
    """Short name of the broken rule, such as `unit-missing`."""
    remedy: str
    value: object = None
    """The offending value as the user gave it; None when there is none."""
    key: str = ""
    """Dotted path of the value in its file, such as `slo.0.at_most`."""
    file: str | None = None
    line: int | None = None
    """First line is 1."""
    column: int | None = None
    """First column is 1."""

    @property
    def place(self) -> str:
        """`file:line:column`, as far as they are known."""
        parts = [part for part in (self.file, self.line, self.column) if part is not None]
        return ":".join(map(str, parts))

    def __str__(self) -> str:
        """The message: one line that finds and says it, one with rule and remedy."""
        head = ": ".join(part for part in (self.place, self.key, self.what) if part)
        value = "" if self.value is None else f" (got {_quoted(self.value)})"
        return f"{head}{value}\n  rule: {self.rule}\n  remedy: {self.remedy}"


class RuleError(ValueError):
    """A broken rule found inside the schema, which does not know the place; `loading` makes it a `Fault`."""

    def __init__(
        self, what: str, rule: str, remedy: str, at: tuple[str | int, ...] = (), offset: int = 0
    ) -> None:
        """`at`: path from the section that raises to the value at fault; `offset`: characters into it."""
        super().__init__(what)
        self.what, self.rule, self.remedy, self.at, self.offset = what, rule, remedy, at, offset


class ProblemError(Exception):
    """Bad input. The attributes are those of the first fault; `faults` has all; `str()` is the message."""

    def __init__(self, *faults: Fault) -> None:
        """At least one fault."""
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        """All faults, one under the other."""
        text = "\n".join(map(str, self.faults))
        # A file may hold characters that no terminal can print; the message must not fail on them.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    @property
    def file(self) -> str | None:
        """File, or command-line option, of the first fault."""
        return self.faults[0].file

    @property
    def line(self) -> int | None:
        """Line of the first fault, from 1."""
        return self.faults[0].line

    @property
    def column(self) -> int | None:
        """Column of the first fault, from 1."""
        return self.faults[0].column

    @property
    def value(self) -> object:
        """Offending value of the first fault."""
        return self.faults[0].value

    @property
    def rule(self) -> str:
        """Broken rule of the first fault."""
        return self.faults[0].rule

    @property
    def remedy(self) -> str:
        """What to do about the first fault."""
        return self.faults[0].remedy


def located(error: ProblemError, file: str | Path, line: int, column: int, key: str = "") -> ProblemError:
    """The same error, with a place for those faults that have none."""
    return ProblemError(
        *(
            fault
            if fault.file is not None
            else replace(fault, file=str(file), line=line, column=column, key=fault.key or key)
            for fault in error.faults
        )
    )


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 1] + "…"
