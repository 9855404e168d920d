"""What an engine's command line accepts, version by version, as the published package says it.

An inventory file lists every flag of every known version of one engine: its names, what value it takes, and
in which versions it exists. `llmopt_optimizer.launch.extraction` writes the files from packages; nothing
here is typed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from llmopt_optimizer.errors import LaunchError

Engine = Literal["sglang", "vllm", "sglang_router"]
ValueType = Literal["int", "float", "str"]
Kind = Literal["switch", "toggle", "value", "optional", "list"]
"""`switch`: no value; `toggle`: no value, and a `--no-` form; `optional`: with or without a value."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One option of a command line."""

    names: tuple[str, ...]
    """Every spelling: `--tp-size`, `--tensor-parallel-size`."""
    kind: Kind
    type: ValueType = "str"
    choices: tuple[str, ...] = ()
    """The values it takes; empty where any value of the type is taken, or the package computes them."""
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """The flags of one version of an engine."""

    engine: Engine
    version: str
    flags: tuple[Flag, ...]

    def flag(self, name: str) -> Flag | None:
        """The flag with that spelling, `--no-` forms of toggles included."""
        for each in self.flags:
            if name in each.names or (each.kind == "toggle" and name.replace("--no-", "--", 1) in each.names):
                return each
        return None

    def accepts(self, name: str) -> bool:
        """Whether the version knows the flag and does not deprecate it."""
        found = self.flag(name)
        return found is not None and not found.deprecated

    def problems(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """What the engine would refuse or warn of in an argument list without positional arguments."""
        found, position = [], 0
        while position < len(arguments):
            name = arguments[position]
            flag = self.flag(name)
            values = _values(arguments, position + 1)
            position += 1 + len(values)
            if flag is None:
                found.append(f"{name}: unknown to {self.engine} {self.version}")
            else:
                found.extend(f"{name}: {text}" for text in _faults(flag, values))
        return tuple(found)


def versions(engine: Engine) -> tuple[str, ...]:
    """The versions in the inventory of an engine, oldest first."""
    return tuple(_document(engine)["versions"])


def inventory(engine: Engine, version: str | None = None) -> Inventory:
    """The flags of one version; of the newest known one without `version`.

    Raises `LaunchError` for a version that the inventory does not hold.
    """
    known = versions(engine)
    chosen = known[-1] if version is None else version
    if chosen not in known:
        raise LaunchError(
            f"{engine} {chosen} is in no inventory: it holds {known[0]} to {known[-1]} ({', '.join(known)}); "
            "name one of them with --engine-version, or extract the flags of yours with "
            "`python -m llmopt_optimizer.launch.extraction`"
        )
    index = known.index(chosen)
    listed = (each for each in _document(engine)["flags"] if _holds(each["versions"], index))
    return Inventory(engine, chosen, tuple(_flag(each) for each in listed))


@cache
def _document(engine: Engine) -> dict[str, Any]:
    text = files(__package__).joinpath("inventories", f"{engine}.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _holds(ranges: list[list[int]], index: int) -> bool:
    return any(first <= index <= last for first, last in ranges)


def _flag(entry: dict[str, Any]) -> Flag:
    choices, deprecated = tuple(entry.get("choices", ())), entry.get("deprecated", False)
    return Flag(tuple(entry["names"]), entry["kind"], entry.get("type", "str"), choices, deprecated)


def _values(arguments: Sequence[str], start: int) -> list[str]:
    values: list[str] = []
    for text in arguments[start:]:
        if text.startswith("-") and not _is_number(text):
            break
        values.append(text)
    return values


def _faults(flag: Flag, values: list[str]) -> list[str]:
    if flag.kind in ("switch", "toggle"):
        wrong = ["takes no value"] if values else []
    elif not values and flag.kind != "optional":
        wrong = ["needs a value"]
    elif len(values) > 1 and flag.kind != "list":
        wrong = ["takes one value"]
    else:
        wrong = [text for value in values for text in _value_faults(flag, value)]
    return [*wrong, "deprecated"] if flag.deprecated else wrong


def _value_faults(flag: Flag, value: str) -> list[str]:
    if flag.choices and value not in flag.choices:
        return [f"{value} is none of {', '.join(flag.choices)}"]
    if flag.type == "int" and not value.lstrip("-").isdigit():
        return [f"{value} is no integer"]
    return [f"{value} is no number"] if flag.type == "float" and not _is_number(value) else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
