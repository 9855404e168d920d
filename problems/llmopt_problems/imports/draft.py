"""A problem in the making: a tree whose leaves know whether a file said them, or who assumes them and why.

A reader gives a `Draft`; overrides replace leaves; `draft_text` writes it as YAML in which every assumed
value carries a comment. Leaves that neither the file nor an override gives are `Missing`, and a draft with
one is no problem yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from ..errors import Fault, ProblemError


@dataclass(frozen=True, slots=True)
class Said:
    """A value that the imported file gives; `note` says by which of its words, where they differ."""

    value: Any
    note: str = ""


@dataclass(frozen=True, slots=True)
class Assumed:
    """A value that the file does not give, and why this one."""

    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that nobody can assume, and an example of it."""

    example: str


Leaf = Said | Assumed | Missing
Tree: TypeAlias = "Leaf | dict[str, Tree] | list[Tree]"


@dataclass(frozen=True, slots=True)
class Draft:
    """The sections of a problem, and what the file says that a problem has no word for."""

    sections: dict[str, Tree]
    left_out: tuple[str, ...] = ()
    today: str = ""
    """The deployment that the file describes, in the form of `--deployment`."""


def with_overrides(draft: Draft, overrides: Mapping[str, Any]) -> Draft:
    """The draft with the leaf or section at each path replaced by a given value."""
    sections: Tree = draft.sections
    for path, value in overrides.items():
        sections = _replaced(sections, path.split("."), Said(value, "given"))
    assert isinstance(sections, dict)
    return Draft(sections, draft.left_out, draft.today)


def missing(draft: Draft) -> dict[str, str]:
    """Path and example of every value that is still missing."""
    leaves = _leaves(draft.sections, ())
    return {".".join(path): leaf.example for path, leaf in leaves if isinstance(leaf, Missing)}


def assumed(draft: Draft) -> dict[str, Assumed]:
    """Every assumed value by its path."""
    leaves = _leaves(draft.sections, ())
    return {".".join(path): leaf for path, leaf in leaves if isinstance(leaf, Assumed)}


def draft_text(draft: Draft, source: str) -> str:
    """The problem file; ProblemError naming what is missing and how to give it."""
    absent = missing(draft)
    if absent:
        raise ProblemError(
            *(
                Fault(f"{path} is not in it", "import-missing", f"add --set {path}={example}", file=source)
                for path, example in absent.items()
            )
        )
    head = [f"# Imported from {source}. A value marked “assumed” is not in that file: check it."]
    head += [f"# Left out: {each}" for each in draft.left_out]
    if draft.today:
        head.append(f'# What runs today: --deployment "{draft.today}"')
    return "\n".join([*head, *_lines(draft.sections, 0)]) + "\n"


def _replaced(tree: Tree | None, path: list[str], value: Leaf) -> Tree:
    if not path:
        return value
    step, *rest = path
    if isinstance(tree, list):
        index = int(step) if step.isdecimal() and int(step) < len(tree) else -1
        if index < 0:
            fault = Fault(f"there is no entry {step}", "override-path", "count entries from 0", key=step)
            raise ProblemError(fault)
        return [_replaced(each, rest, value) if i == index else each for i, each in enumerate(tree)]
    inner = tree if isinstance(tree, dict) else {}
    return {**inner, step: _replaced(inner.get(step), rest, value)}


def _leaves(tree: Tree, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Leaf]]:
    if isinstance(tree, dict | list):
        entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, each in entries:
            yield from _leaves(each, (*path, str(key)))
    else:
        yield path, tree


def _lines(tree: dict[str, Tree], indent: int) -> Iterator[str]:
    for key, each in tree.items():
        start = " " * indent + key + ":"
        if isinstance(each, dict):
            yield start
            yield from _lines(each, indent + 2)
        elif isinstance(each, list):
            yield start
            yield from _entries(each, indent + 2)
        else:
            yield f"{start} {_leaf_text(each)}"


def _entries(entries: list[Tree], indent: int) -> Iterator[str]:
    for each in entries:
        if not isinstance(each, dict):
            assert not isinstance(each, list), "lists of lists do not occur"
            yield " " * indent + f"- {_leaf_text(each)}"
            continue
        first, *others = _lines(each, indent + 2)
        yield " " * indent + "- " + first.lstrip()
        yield from others


def _leaf_text(leaf: Leaf) -> str:
    assert not isinstance(leaf, Missing), "refused before"
    flow = yaml.safe_dump(
        leaf.value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False
    )
    text = flow.removesuffix("\n").removesuffix("\n...")
    comment = f"assumed: {leaf.why}" if isinstance(leaf, Assumed) else leaf.note
    return f"{text} # {comment}" if comment else text
