"""From a problem file to a `Problem`: text, tree of nodes, plain data, checked sections.

The tree keeps the place of every value, so whatever the schema finds wrong is reported at file, line and
column, all findings at once. Overrides from the command line change the tree and carry their own places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from yaml.nodes import Node, ScalarNode

from . import catalog, examples
from .document import Spot, check_tree, compose, fault_at, locate, plain, read_text
from .errors import Fault, ProblemError, RuleError, located
from .fit import unfit
from .overrides import apply_override
from .schema import Problem
from .suggestions import choices_at, did_you_mean, fields_at

Location = tuple[str | int, ...]
Finding = tuple[str, str, str]
"""What is wrong, the rule, the remedy."""

_REMEDIES = {
    "int_type": "write a whole number, without quotes",
    "float_type": "write a number, without quotes",
    "bool_type": "write true or false",
    "string_type": "write text; put it in quotes when it looks like a number",
    "tuple_type": "write a list: [first, second]",
    "model_type": "write a mapping: {key: value}",
    "model_attributes_type": "write a mapping: {key: value}",
    "too_short": "add an entry",
    "too_long": "remove entries",
}


def load(path: str | Path, overrides: Iterable[str] = ()) -> Problem:
    """The problem in a YAML or JSON file, or the bundled example of that name when there is no such file.

    `overrides` are `path=value` texts, as of `--set`. Paths inside the file are relative to its folder.
    Raises ProblemError with every fault found.
    """
    source = _source(Path(path))
    root = compose(read_text(source), str(source))
    check_tree(root)
    for option in overrides:
        apply_override(root, option)
        check_tree(root)
    problem = _validated(root, source.parent)
    _check_names(root, problem)
    _check_fit(root, problem)
    return problem


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of a problem file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Problem.model_json_schema()}


def _source(path: Path) -> Path:
    bundled = str(path) in examples.names()
    return examples.path(str(path)) if bundled and not path.exists() else path


def _validated(root: Node, directory: Path) -> Problem:
    try:
        return Problem.model_validate(plain(root), context={"directory": directory})
    except ValidationError as error:
        found = error.errors(include_url=False)
    places = [each["loc"] for each in found]
    # A list whose entries are wrong is also reported as too short: the entries say enough.
    deepest = [each for each in found if not any(_inside(place, each["loc"]) for place in places)]
    faults = {_fault(root, each): None for each in deepest}
    raise ProblemError(*sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column)))


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


def _inside(place: Location, outer: Location) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _fault(root: Node, error: Any) -> Fault:
    context = error.get("ctx", {})
    inner = context.get("error")
    location: Location = error["loc"]
    if isinstance(inner, RuleError):
        location += inner.at
    elif error["type"] == "union_tag_invalid":
        location += (context["discriminator"].strip("'"),)
    spot = locate(root, location)
    what, rule, remedy = _finding(error, inner, location)
    node = _culprit(spot, rule)
    value = plain(node) if isinstance(node, ScalarNode) else None
    fault = fault_at(node, what, rule, remedy, value, spot.path).faults[0]
    return _inside_text(fault, node, inner.offset) if isinstance(inner, RuleError) else fault


def _inside_text(fault: Fault, node: Node, offset: int) -> Fault:
    """The fault at a character of a text that stands on one line, after its opening quote."""
    if not offset or fault.column is None or not isinstance(node, ScalarNode):
        return fault
    if node.start_mark.line != node.end_mark.line:
        return fault
    return replace(fault, column=fault.column + offset + (node.style in ("'", '"')))


def _culprit(spot: Spot, rule: str) -> Node:
    """The node to point at: the key when that is at fault, else its value."""
    key_at_fault = rule in ("unknown-key", "key-twice")
    return spot.key_node if key_at_fault and spot.key_node is not None else spot.node


def _finding(error: Any, inner: object, location: Location) -> Finding:
    if isinstance(inner, RuleError):
        return inner.what, inner.rule, inner.remedy
    kinds: dict[str, Callable[[Any, Location], Finding]] = {
        "missing": _missing,
        "extra_forbidden": _unknown_key,
        "literal_error": _unknown_choice,
        "union_tag_invalid": _unknown_choice,
        "union_tag_not_found": _missing_tag,
    }
    if error["type"] in kinds:
        return kinds[error["type"]](error, location)
    message = error["msg"][0].lower() + error["msg"][1:]
    remedy = _REMEDIES.get(error["type"], "give a value in the allowed range")
    return message, error["type"].replace("_", "-"), remedy


def _missing(_error: Any, location: Location) -> Finding:
    key = location[-1]
    field = fields_at(location[:-1]).get(str(key))
    meaning = field.description if field else None
    return f"{key} is missing", "missing-key", f"add {key}: {meaning or '…'}"


def _missing_tag(error: Any, location: Location) -> Finding:
    key = error["ctx"]["discriminator"].strip("'")
    return f"{key} is missing", "missing-key", f"add {key}: one of {', '.join(choices_at(location, key))}"


def _unknown_key(_error: Any, location: Location) -> Finding:
    return "unknown key", "unknown-key", did_you_mean(location[-1], fields_at(location[:-1]))


def _unknown_choice(error: Any, _location: Location) -> Finding:
    context = error["ctx"]
    expected = context.get("expected") or context.get("expected_tags", "")
    given = error["input"]
    if "discriminator" in context:
        given = context.get("tag", given)
    return "unknown choice", "unknown-choice", did_you_mean(given, re.findall(r"'([^']*)'", expected))
