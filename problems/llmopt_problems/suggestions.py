"""Help with misspelt names: the keys that a place of the schema allows, and the closest of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Sections = tuple[type[BaseModel], ...]


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """`did you mean x?` when one is close, and in any case what is allowed."""
    names = sorted(allowed)
    close = difflib.get_close_matches(str(word), names, n=1)
    listing = f"use one of: {', '.join(names)}"
    return f"did you mean {close[0]}? ({listing})" if close else listing


def fields_at(path: Sequence[str | int], root: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of the section at `path` (a pydantic location, tags of variants included) by file key.

    `root` is the section that the path starts in.
    """
    return {key: field for section in _sections_at(path, root) for key, field in _fields(section).items()}


def choices_at(path: Sequence[str | int], key: str, root: type[BaseModel]) -> list[str]:
    """The values that `key` may have in the variants of the section at `path`."""
    fields = [_fields(section)[key] for section in _sections_at(path, root) if key in _fields(section)]
    return sorted(str(choice) for field in fields for choice in get_args(field.annotation))


def _sections_at(path: Sequence[str | int], root: type[BaseModel]) -> Sections:
    sections: Sections = (root,)
    for step in path:
        if isinstance(step, str):
            sections = _next(sections, step)
    return sections


def _next(sections: Sections, step: str) -> Sections:
    fields = [_fields(section)[step] for section in sections if step in _fields(section)]
    if fields:
        return tuple(section for field in fields for section in _sections_in(field.annotation))
    return tuple(section for section in sections if step in _tags(section)) or sections


def _fields(section: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _tags(section: type[BaseModel]) -> set[object]:
    annotations = [field.annotation for field in section.model_fields.values()]
    return {tag for each in annotations if get_origin(each) is Literal for tag in get_args(each)}


def _sections_in(annotation: Any) -> Sections:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(section for inner in get_args(annotation) for section in _sections_in(inner))
