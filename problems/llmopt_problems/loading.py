"""From a problem file to a `Problem`: text, tree of nodes, plain data, checked sections.

The tree keeps the place of every value, so whatever the schema finds wrong is reported at file, line and
column, all findings at once. Overrides from the command line change the tree and carry their own places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from yaml.nodes import Node

from . import catalog, examples
from .document import check_tree, compose, fault_at, locate, read_text
from .errors import Fault, ProblemError, located
from .faults import Location, validated
from .fit import unfit
from .overrides import apply_override
from .schema import Problem


def load(path: str | Path, overrides: Iterable[str] = ()) -> Problem:
    """The problem in a YAML or JSON file, or the bundled example of that name when there is no such file.

    `overrides` are `path=value` texts, as of `--set`. Paths inside the file are relative to its folder.
    Raises ProblemError with every fault found.
    """
    source = _source(Path(path))
    return load_text(read_text(source), str(source), source.parent, overrides)


def load_text(text: str, name: str, directory: Path, overrides: Iterable[str] = ()) -> Problem:
    """The problem in a text that errors call `name`, paths relative to `directory`; raises as `load` does."""
    root = compose(text, name)
    check_tree(root)
    for option in overrides:
        apply_override(root, option)
        check_tree(root)
    problem = validated(root, directory, Problem)
    _check_names(root, problem)
    _check_fit(root, problem)
    return problem


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of a problem file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Problem.model_json_schema()}


def _source(path: Path) -> Path:
    bundled = str(path) in examples.names()
    return examples.path(str(path)) if bundled and not path.exists() else path


def _check_names(root: Node, problem: Problem) -> None:
    """ProblemError for names that the catalogs do not have and model configs that they cannot read."""
    faults: list[Fault] = []
    for location, look_up, name in _lookups(problem):
        try:
            look_up(name)
        except ProblemError as error:
            spot = locate(root, location)
            mark = spot.node.start_mark
            placed = located(error, mark.name, mark.line + 1, mark.column + 1, spot.path)
            faults.extend(placed.faults)
    if faults:
        raise ProblemError(*faults)


def _check_fit(root: Node, problem: Problem) -> None:
    """ProblemError for a model or requests that nothing on offer can hold."""
    spots = [(locate(root, rule.at), rule) for rule in unfit(problem)]
    faults = [
        fault_at(spot.node, rule.what, rule.rule, rule.remedy, None, spot.path).faults[0]
        for spot, rule in spots
    ]
    if faults:
        raise ProblemError(*faults)


def _lookups(problem: Problem) -> Iterator[tuple[Location, Callable[[Any], object], str | Path]]:
    """Every name of the problem that a catalog must know: where it stands, who knows it, the name."""
    if problem.model.name is not None:
        yield ("model", "name"), catalog.model, problem.model.name
    if problem.model.config is not None:
        yield ("model", "config"), catalog.model_from_config, problem.model.config
    for index, offer in enumerate(problem.hardware.accelerators):
        place = ("hardware", "accelerators", index)
        yield (*place, "name"), catalog.accelerator, offer.name
        for key, link in (("scale_up", offer.scale_up), ("network", offer.network)):
            if link is not None:
                yield (*place, key), catalog.link, link
