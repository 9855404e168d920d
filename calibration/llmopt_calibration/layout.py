"""A named tuple of arrays as machine words: what compiled functions are given instead of the tuple.

Numba passes a tuple by copying all that describes every array of it into every call, seven words or more
each, and optimizes all these copies. A *layout* says where the fields of a named tuple lie in one array of
words: an array is its address and its shape, a number is itself, a tuple within is its own words. Compiled
functions then get one pointer to the words (`reference`), and a field is a load from there.

A class declares its layout by its annotations: `int`, `float`, `bool`, `NDArray[...]` for one dimension,
`Annotated[NDArray[...], 2]` for more, `Annotated[NDArray[Any], RECORD]` for records, or another such class.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

WORD: Final = np.dtype("i8")


@dataclass(frozen=True, slots=True)
class Number:
    """A field that is one number."""

    dtype: np.dtype[Any]
    words: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """A field that is an array: the address of its items in C order, and its shape."""

    dtype: np.dtype[Any]
    ndim: int

    @property
    def words(self) -> int:
        """Address and shape."""
        return 1 + self.ndim


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the fields of a named tuple lie."""

    name: str
    """Of the class, and a number that changes with the fields: code compiled for others never fits it."""
    fields: Mapping[str, tuple[int, Number | Block | Layout]]
    """Of every field its first word, and what it is."""
    words: int


class Packed(NamedTuple):
    """A named tuple and its words, which are valid as long as its arrays live."""

    words: NDArray[Any]
    value: tuple[Any, ...]


@functools.cache
def layout_of(tuple_class: Any) -> Layout:
    """The layout that the annotations of a named tuple declare."""
    fields, words = {}, 0
    for name, hint in get_type_hints(tuple_class, include_extras=True).items():
        kind = _kind(hint)
        fields[name] = (words, kind)
        words += kind.words
    version = zlib.crc32(repr(fields).encode())
    return Layout(f"{tuple_class.__module__}.{tuple_class.__qualname__}:{version:08x}", fields, words)


def _kind(hint: Any) -> Number | Block | Layout:
    hint, extra = get_args(hint) if get_origin(hint) is Annotated else (hint, 1)
    if hint in (bool, int, float):
        return Number(np.dtype(hint))
    if isinstance(extra, np.dtype):
        return Block(extra, 1)
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return layout_of(hint)
    return Block(np.dtype(get_args(get_args(hint)[1])[0]), extra)


def pack(value: tuple[Any, ...], word: np.dtype[Any] = WORD) -> Packed:
    """A named tuple with its words, as an array of `word`: any type of eight bytes.

    Raises `TypeError` where an array is not what its annotation declares.
    """
    return Packed(np.array(_words(value), WORD).view(word), value)


def _words(value: tuple[Any, ...]) -> list[int]:
    layout, words = layout_of(type(value)), list[int]()
    for field, (name, (_, kind)) in zip(value, layout.fields.items(), strict=True):
        if isinstance(kind, Layout):
            words += _words(field)
        elif isinstance(kind, Block):
            words += (_address(field, kind, f"{type(value).__name__}.{name}"), *field.shape)
        else:
            words.append(int(np.float64(field).view(WORD)) if kind.dtype.kind == "f" else int(field))
    return words


def _address(array: NDArray[Any], block: Block, where: str) -> int:
    if array.dtype != block.dtype or array.ndim != block.ndim or not array.flags.c_contiguous:
        raise TypeError(
            f"{where} is declared as a C array of {block.dtype} in {block.ndim} dimensions, and is one of "
            f"{array.dtype} in {array.ndim}: allocate what the annotation says, or change it"
        )
    return int(array.__array_interface__["data"][0])
