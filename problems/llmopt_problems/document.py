"""A YAML document read with suspicion: text to a tree of nodes that know their place, and from there to data.

Files come from strangers, so everything that could be large, deep, ambiguous or more than data is refused
before any value is built: size, nesting, aliases that multiply, duplicate keys, keys that are not text, and
tags that construct anything but text, numbers, booleans, null, lists and mappings. JSON is read as the YAML
that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import CollectionEndEvent, CollectionStartEvent, Event, NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .errors import Fault, ProblemError
from .units import split_key

MAX_BYTES = 2**20
MAX_DEPTH = 20
MAX_NODES = 20_000
"""Most nodes of a document, each counted as often as aliases repeat it."""

_TAG = "tag:yaml.org,2002:"
# YAML 1.1, which PyYAML reads, takes `1e6` for text and `10:30` for 630; YAML 1.2 and people do not.
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a path ends: the node there, the key that leads to it, and the path as the file writes it."""

    node: Node
    key_node: Node | None
    path: str


def read_text(path: Path) -> str:
    """The text of a small UTF-8 file; ProblemError when it is missing, unreadable, too large or not text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _unplaced(f"cannot read it: {reason}", "file-readable", "check the path", path) from None
    if len(content) > MAX_BYTES:
        raise _unplaced(f"it is larger than {MAX_BYTES} bytes", "file-size", "give a problem file", path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8 text"
        raise _unplaced(what, "file-text", "save the file as UTF-8 text", path) from None


def compose(text: str, name: str) -> Node:
    """The root node of the one document in `text`; `name` is the file (or option) that errors show."""
    try:
        _check_events(_events(text, name))
        loader = _loader(text, name)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem)))
        raise _syntax(what, name, mark.line if mark else 0, mark.column if mark else 0) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n"), error.position - before.rfind("\n") - 1
        raise _syntax(f"character {error.character!r} is not allowed", name, line, column) from None
    except (ValueError, OverflowError) as error:  # escapes and directives with impossible numbers
        raise _syntax(str(error), name, 0, 0) from None
    if root is None:
        raise _unplaced("it is empty", "file-empty", "see `llmopt schema` and the bundled examples", name)
    return root


def check_tree(root: Node) -> None:
    """Refuses what aliases make too large or endless, and nodes that are not plain data."""
    pending, count = [(root, 1)], 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise fault_at(node, "aliases expand too far", "yaml-aliases", "write the values out")
        _check_node(node)
        pending.extend((child, depth + 1) for child in _children(node))


def plain(node: Node) -> object:
    """The data of a checked tree: str, int, float, bool, None, lists and dicts with text keys."""
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    return _scalar(node) if isinstance(node, ScalarNode) else None


def locate(root: Node, path: Iterable[str | int]) -> Spot:
    """The deepest node on `path`; steps that the file lacks (names of variants, missing keys) are skipped."""
    spot, steps = Spot(root, None, ""), []
    for step in path:
        entry = find_entry(spot.node, step)
        if entry is None:
            continue
        key, value = entry
        steps.append(str(step) if key is None else key.value)
        spot = Spot(value, key, ".".join(steps))
    return spot


def find_entry(node: Node, step: str | int) -> tuple[ScalarNode | None, Node] | None:
    """Key and value that `step` leads to from `node`; a key that carries a unit answers to its bare name."""
    if isinstance(node, MappingNode):
        return next(((key, value) for key, value in node.value if step in spellings(key.value)), None)
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None


def spellings(key: str) -> tuple[str, ...]:
    """The key and, when it carries a unit, its bare name."""
    parts = split_key(key)
    return (key,) if parts is None else (key, parts[0])


def fault_at(
    node: Node | Event, what: str, rule: str, remedy: str, value: object = None, key: str = ""
) -> ProblemError:
    """A ProblemError that points at `node`."""
    mark = node.start_mark
    file, line, column = (mark.name, mark.line + 1, mark.column + 1) if mark else (None, None, None)
    return ProblemError(Fault(what, rule, remedy, value, key, file, line, column))


def _loader(text: str, name: str) -> yaml.SafeLoader:
    loader = yaml.SafeLoader(text)
    loader.name = name
    return loader


def _events(text: str, name: str) -> Iterator[Event]:
    loader = _loader(text, name)
    while loader.check_event():
        yield loader.get_event()  # type: ignore[no-untyped-call]


def _check_events(events: Iterable[Event]) -> None:
    """Bounds size and nesting on the stream, before the recursive composer sees them."""
    depth = nodes = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        nodes += isinstance(event, NodeEvent)
        if depth > MAX_DEPTH:
            raise fault_at(event, f"nested deeper than {MAX_DEPTH}", "yaml-depth", "flatten the file")
        if nodes > MAX_NODES:
            raise fault_at(event, f"more than {MAX_NODES} values", "yaml-nodes", "shorten the file")


def _children(node: Node) -> Iterable[Node]:
    if isinstance(node, MappingNode):
        return [value for _, value in node.value]
    return node.value if isinstance(node, SequenceNode) else ()


def _check_node(node: Node) -> None:
    if isinstance(node, ScalarNode):
        _scalar(node)
    elif isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
        _check_keys(node)
    elif node.tag != f"{_TAG}seq":
        raise _no_data(node)


def _check_keys(node: MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, ScalarNode) or key.tag != f"{_TAG}str":
            shown = key.value if isinstance(key, ScalarNode) else None
            raise fault_at(key, "a key must be text", "yaml-text-keys", "put the key in quotes", shown)
        if key.value in seen:
            raise fault_at(
                key, "this key is given twice", "yaml-duplicate-key", "keep one of them", key.value
            )
        seen.add(key.value)


def _scalar(node: ScalarNode) -> object:
    constructor, kind = SafeConstructor(), node.tag.removeprefix(_TAG)
    text = node.value
    try:
        match kind:
            case "str":
                return float(text) if node.style is None and _EXPONENT.fullmatch(text) else text
            case "int" | "float":
                number = constructor.construct_yaml_int if kind == "int" else constructor.construct_yaml_float
                return text if ":" in text else number(node)
            case "bool":
                return constructor.construct_yaml_bool(node)
            case "null":
                return None
            case "timestamp" if node.style is None:
                return text
    except (ValueError, KeyError):
        pass
    raise _no_data(node)


def _no_data(node: Node) -> ProblemError:
    value = node.value if isinstance(node, ScalarNode) else None
    what = f"{node.tag} is no plain data"
    return fault_at(node, what, "yaml-plain-types", "use text, numbers, booleans, lists and mappings", value)


def _syntax(what: str, name: str, line: int, column: int) -> ProblemError:
    remedy = "check indentation, brackets and quotes here and on the line before"
    return ProblemError(Fault(what, "yaml-syntax", remedy, file=name, line=line + 1, column=column + 1))


def _unplaced(what: str, rule: str, remedy: str, file: str | Path) -> ProblemError:
    return ProblemError(Fault(what, rule, remedy, file=str(file)))
