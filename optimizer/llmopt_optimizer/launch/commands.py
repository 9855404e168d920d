"""Command lines: what is started, in parts that a shell or a manifest can hold.

A `ServerCommand` is one engine process of an instance that may span machines. What differs between the
machines of an instance is a `Slot`, which a script fills from its environment and a manifest from the
pod's.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Slot(Enum):
    """A value that is known only where the process starts."""

    HOST = "HOST"
    PORT = "PORT"
    NODE_RANK = "NODE_RANK"
    LEADER = "LEADER"
    FIRST_RANK = "FIRST_RANK"
    """Data-parallel rank that a machine starts with: its node rank times the ranks of a machine."""


Part: TypeAlias = str | Slot | tuple[Slot, str]
"""An argument: text, a slot, or a slot followed by text (`$LEADER:20000`)."""


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """One engine process on each machine of an instance."""

    program: tuple[str, ...]
    arguments: tuple[Part, ...]
    worker_arguments: tuple[Part, ...] | None = None
    """Arguments of the machines after the first where they differ."""


def filled(parts: Iterable[Part], slots: Mapping[Slot, str]) -> tuple[str, ...]:
    """The arguments as text, every slot replaced by its value."""
    return tuple(_text(part, slots) for part in parts)


def _text(part: Part, slots: Mapping[Slot, str]) -> str:
    match part:
        case str():
            return part
        case Slot():
            return slots[part]
        case (slot, rest):
            return slots[slot] + rest


def shell_lines(program: Iterable[str], parts: Iterable[Part], indent: str = "  ") -> str:
    """A command for bash, an option a line; slots are variables of their names."""
    words = [_shell_word(part) for part in parts]
    lines = [" ".join(shlex.quote(word) for word in program)]
    for word in words:
        if word.startswith("--") or lines[-1] == lines[0]:
            lines.append(word)
        else:
            lines[-1] += " " + word
    return f" \\\n{indent}".join(lines)


def _shell_word(part: Part) -> str:
    match part:
        case str():
            return shlex.quote(part)
        case Slot():
            return f'"${part.value}"'
        case (slot, rest):
            return f'"${{{slot.value}}}{rest}"'
