"""The names in a problem that a catalog must know, each with its place in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from . import catalog
from .schema import AnyProblem
from .schema.resources import Hardware, ModelChoice

Location: TypeAlias = tuple[str | int, ...]
Lookup: TypeAlias = tuple[Location, Callable[[Any], object], str | Path]
"""Where a name stands, who knows it, the name."""


def lookups(problem: AnyProblem) -> Iterator[Lookup]:
    """Every name of the problem that a catalog must know."""
    yield from _model(problem.model, ("model",))
    yield from _hardware(problem.hardware)


def _model(choice: ModelChoice, place: Location) -> Iterator[Lookup]:
    if choice.name is not None:
        yield (*place, "name"), catalog.model, choice.name
    if choice.config is not None:
        yield (*place, "config"), catalog.model_from_config, choice.config


def _hardware(hardware: Hardware) -> Iterator[Lookup]:
    for index, offer in enumerate(hardware.accelerators):
        place = ("hardware", "accelerators", index)
        yield (*place, "name"), catalog.accelerator, offer.name
        for key, link in (("scale_up", offer.scale_up), ("network", offer.network)):
            if link is not None:
                yield (*place, key), catalog.link, link
