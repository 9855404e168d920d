"""Pieces that the readers share: names of models and accelerators, lengths, common assumptions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import catalog
from ..errors import Fault, ProblemError
from .draft import Assumed, Leaf, Missing, Said, Tree

MODEL = Missing("Llama-3.1-8B")
ACCELERATOR = Missing("H100-SXM")
COUNT = Assumed(8, "accelerators on offer")
PRICE = Assumed("0 USD/h", "unknown; it matters only where cost is an objective")
RATE = Assumed("1 req/s", "the file has no load")
OBJECTIVES: Tree = [{"minimize": Assumed("gpus", "the fewest accelerators that keep the levels")}]


def refused(source: str, what: str, remedy: str, key: str = "") -> ProblemError:
    """The error of a file that cannot be a problem."""
    return ProblemError(Fault(what, "import-unsupported", remedy, key=key, file=source))


def known_model(name: object) -> Leaf:
    """The catalog's name of a model, by repository, by path of its last part, or spelled otherwise."""
    return _known(name, catalog.model, catalog.model_names(), MODEL)


def known_accelerator(name: object) -> Leaf:
    """The catalog's name of an accelerator."""
    return _known(name, catalog.accelerator, catalog.accelerator_names(), ACCELERATOR)


def _known(name: object, look_up: Callable[[str], Any], names: Iterable[str], absent: Missing) -> Leaf:
    if not isinstance(name, str):
        return absent
    for spelling in (name, name.rstrip("/").rpartition("/")[2]):
        try:
            return Said(look_up(spelling).name, "" if spelling == name else name)
        except ProblemError:
            continue
    plain = {_letters(each): each for each in names}
    found = plain.get(_letters(name)) or plain.get(_letters(name.rpartition("/")[2]))
    return absent if found is None else Said(found, name)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("sxm").removesuffix("instruct")


def hardware(*accelerators: Leaf, count: Leaf = COUNT) -> dict[str, Tree]:
    """The hardware section: equally many of each."""
    entries: list[Tree] = [{"name": each, "count": count, "price": PRICE} for each in accelerators]
    return {"accelerators": entries}


def constant(tokens: object) -> Tree:
    """Equal lengths."""
    return Said({"distribution": "constant", "value": tokens})


def normal(mean: float, deviation: float, least: int, most: int) -> Tree:
    """Normal lengths cut to [least, most]; equal ones without deviation."""
    if deviation == 0 or least == most:
        return constant(round(mean))
    value = {"distribution": "normal", "mean": mean, "cv": deviation / mean, "min": least, "max": most}
    return Said(value)


def quantity(value: float, unit: str) -> str:
    """A number with its unit as problem files have it."""
    return f"{value:.12g} {unit}"


def number(source: str, values: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A number of the file; ProblemError when it is none."""
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(source, f"{key} is no number (got {value!r})", f"write {key}: 1", key)
    return float(value)


def mapping(source: str, value: object, key: str) -> dict[str, Any]:
    """A mapping of the file; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refused(source, f"{key} is no mapping", f"write {key}: {{key: value}}", key)
    return value
