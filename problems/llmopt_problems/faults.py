"""From what pydantic finds wrong in a document to faults with place, rule and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from yaml.nodes import Node, ScalarNode

from .document import Spot, fault_at, locate, plain
from .errors import Fault, ProblemError, RuleError
from .suggestions import choices_at, did_you_mean, fields_at

Location = tuple[str | int, ...]
Finding = tuple[str, str, str]
"""What is wrong, the rule, the remedy."""
Section = TypeVar("Section", bound=BaseModel)

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


def validated(root: Node, directory: Path, section: type[Section]) -> Section:
    """The document as a `section`, its paths relative to `directory`; ProblemError with every fault."""
    try:
        return section.model_validate(plain(root), context={"directory": directory})
    except ValidationError as error:
        found = error.errors(include_url=False)
    places = [each["loc"] for each in found]
    # A list whose entries are wrong is also reported as too short: the entries say enough.
    deepest = [each for each in found if not any(_inside(place, each["loc"]) for place in places)]
    faults = {_fault(root, each, section): None for each in deepest}
    raise ProblemError(*sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column)))


def _inside(place: Location, outer: Location) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _fault(root: Node, error: Any, section: type[BaseModel]) -> Fault:
    context = error.get("ctx", {})
    inner = context.get("error")
    location: Location = error["loc"]
    if isinstance(inner, RuleError):
        location += inner.at
    elif error["type"] == "union_tag_invalid":
        location += (context["discriminator"].strip("'"),)
    spot = locate(root, location)
    what, rule, remedy = _finding(_Wrong(error, location, section), inner)
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


@dataclass(frozen=True, slots=True)
class _Wrong:
    """What pydantic found, where, in a document of which kind."""

    error: Any
    location: Location
    section: type[BaseModel]


def _finding(wrong: _Wrong, inner: object) -> Finding:
    if isinstance(inner, RuleError):
        return inner.what, inner.rule, inner.remedy
    error = wrong.error
    kinds: dict[str, Callable[[_Wrong], Finding]] = {
        "missing": _missing,
        "extra_forbidden": _unknown_key,
        "literal_error": _unknown_choice,
        "union_tag_invalid": _unknown_choice,
        "union_tag_not_found": _missing_tag,
    }
    if error["type"] in kinds:
        return kinds[error["type"]](wrong)
    message = error["msg"][0].lower() + error["msg"][1:]
    remedy = _REMEDIES.get(error["type"], "give a value in the allowed range")
    return message, error["type"].replace("_", "-"), remedy


def _missing(wrong: _Wrong) -> Finding:
    key = wrong.location[-1]
    field = fields_at(wrong.location[:-1], wrong.section).get(str(key))
    meaning = field.description if field else None
    return f"{key} is missing", "missing-key", f"add {key}: {meaning or '…'}"


def _missing_tag(wrong: _Wrong) -> Finding:
    key = wrong.error["ctx"]["discriminator"].strip("'")
    choices = ", ".join(choices_at(wrong.location, key, wrong.section))
    return f"{key} is missing", "missing-key", f"add {key}: one of {choices}"


def _unknown_key(wrong: _Wrong) -> Finding:
    remedy = did_you_mean(wrong.location[-1], fields_at(wrong.location[:-1], wrong.section))
    return "unknown key", "unknown-key", remedy


def _unknown_choice(wrong: _Wrong) -> Finding:
    context = wrong.error["ctx"]
    expected = context.get("expected") or context.get("expected_tags", "")
    given = wrong.error["input"]
    if "discriminator" in context:
        given = context.get("tag", given)
    return "unknown choice", "unknown-choice", did_you_mean(given, re.findall(r"'([^']*)'", expected))
