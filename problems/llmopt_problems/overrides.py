"""`--set path=value`: one value of a problem replaced in its tree; errors about it point at the option."""

from __future__ import annotations

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .document import compose, fault_at, find_entry, spellings
from .errors import Fault, ProblemError

_FORM = 'write --set path=value, such as --set slo.0.at_most="3 s"'


def apply_override(root: Node, option: str) -> None:
    """Sets the node that `option` (`path=value`) names; mappings on the way are made where they are missing.

    Path steps are keys or list indices from 0; the index after the last one appends. ProblemError, placed in
    the option, when the path leads nowhere or the value is no YAML.
    """
    path, equals, value = option.partition("=")
    name = f"--set {option}"
    if not equals or not all(path.split(".")) or not value.strip():
        raise ProblemError(Fault("this sets nothing", "override-form", _FORM, option, file=name))
    # Blanks in front keep the columns of errors those of the option.
    new = compose(" " * (len(path) + 1) + value, name)
    *parents, last = path.split(".")
    for step in parents:
        root = _step(root, step, name)
    _set(root, last, new, name)


def _step(node: Node, step: str, name: str) -> Node:
    entry = find_entry(node, _index(node, step, name))
    if entry is not None:
        return entry[1]
    child = MappingNode("tag:yaml.org,2002:map", [], _mark(name))
    _set(node, step, child, name)
    return child


def _set(node: Node, step: str, new: Node, name: str) -> None:
    if isinstance(node, SequenceNode):
        index = int(_index(node, step, name))
        node.value[index : index + 1] = [new]
    elif isinstance(node, MappingNode):
        # `at_most` replaces an `at_most_ms` of the file, and the other way round.
        kept = [entry for entry in node.value if not set(spellings(entry[0].value)) & set(spellings(step))]
        key = ScalarNode("tag:yaml.org,2002:str", step, _mark(name))
        node.value[:] = [*kept, (key, new)]
    else:
        raise _nowhere(step, name, "the path goes into a plain value")


def _index(node: Node, step: str, name: str) -> str | int:
    if not isinstance(node, SequenceNode):
        return step
    if step.isdecimal() and len(step) < 9 and int(step) <= len(node.value):
        return int(step)
    raise _nowhere(step, name, f"the list has {len(node.value)} entries, numbered from 0")


def _nowhere(step: str, name: str, what: str) -> ProblemError:
    return fault_at(ScalarNode("", step, _mark(name)), what, "override-path", _FORM, step)


def _mark(name: str) -> yaml.Mark:
    return yaml.Mark(name, 0, 0, 0, None, 0)
