"""From a problem file to a `Problem`: text, tree of nodes, plain data, checked sections.

The tree keeps the place of every value, so whatever the schema finds wrong is reported at file, line and
column, all findings at once. Overrides from the command line change the tree and carry their own places.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from yaml.nodes import Node

from . import examples
from .document import check_tree, compose, fault_at, locate, plain, read_text
from .errors import Fault, ProblemError, located
from .faults import validated
from .fit import unfit
from .names import lookups
from .overrides import apply_override
from .schema import KINDS, AnyProblem, Problem, TaggedProblem
from .suggestions import did_you_mean


def load(path: str | Path, overrides: Iterable[str] = ()) -> Problem:
    """The deployment problem in a file, as `load_any` reads it; ProblemError for a file of another kind."""
    source = _source(Path(path))
    return load_text(read_text(source), str(source), source.parent, overrides)


def load_text(text: str, name: str, directory: Path, overrides: Iterable[str] = ()) -> Problem:
    """The deployment problem in a text that errors call `name`, paths relative to `directory`; raises as
    `load` does.
    """
    problem = _read(text, name, directory, overrides)
    if isinstance(problem, Problem):
        return problem
    what = f"this asks for {problem.kind}, not for one deployment"
    remedy = "use llmopt solve or llmopt check"
    raise ProblemError(Fault(what, "kind-deployment", remedy, problem.kind, "kind", name))


def load_any(path: str | Path, overrides: Iterable[str] = ()) -> AnyProblem:
    """The problem in a YAML or JSON file, or the bundled example of that name when there is no such file.

    `overrides` are `path=value` texts, as of `--set`. Paths inside the file are relative to its folder.
    Raises ProblemError with every fault found.
    """
    source = _source(Path(path))
    return _read(read_text(source), str(source), source.parent, overrides)


def _read(text: str, name: str, directory: Path, overrides: Iterable[str]) -> AnyProblem:
    root = compose(text, name)
    check_tree(root)
    for option in overrides:
        apply_override(root, option)
        check_tree(root)
    problem = validated(root, directory, _section(root))
    _check_names(root, problem)
    _check_fit(root, problem)
    return problem


def _section(root: Node) -> type[AnyProblem]:
    """What a file of its kind is; without a kind, a deployment problem that lacks it."""
    data = plain(root)
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str):
        return Problem
    if kind not in KINDS:
        spot, remedy = locate(root, ("kind",)), did_you_mean(kind, KINDS)
        raise fault_at(spot.node, "unknown choice", "unknown-choice", remedy, kind, spot.path)
    return KINDS[kind]


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of a problem file."""
    schema: dict[str, Any] = TypeAdapter(TaggedProblem).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Problem", **schema}


def _source(path: Path) -> Path:
    bundled = str(path) in examples.names()
    return examples.path(str(path)) if bundled and not path.exists() else path


def _check_names(root: Node, problem: AnyProblem) -> None:
    """ProblemError for names that the catalogs do not have and model configs that they cannot read."""
    faults: list[Fault] = []
    for location, look_up, name in lookups(problem):
        try:
            look_up(name)
        except ProblemError as error:
            spot = locate(root, location)
            mark = spot.node.start_mark
            placed = located(error, mark.name, mark.line + 1, mark.column + 1, spot.path)
            faults.extend(placed.faults)
    if faults:
        raise ProblemError(*faults)


def _check_fit(root: Node, problem: AnyProblem) -> None:
    """ProblemError for a model or requests that nothing on offer can hold."""
    spots = [(locate(root, rule.at), rule) for rule in unfit(problem)]
    faults = [
        fault_at(spot.node, rule.what, rule.rule, rule.remedy, None, spot.path).faults[0]
        for spot, rule in spots
    ]
    if faults:
        raise ProblemError(*faults)
