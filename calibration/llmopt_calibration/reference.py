"""How compiled functions read a named tuple of arrays through one pointer: numba's view of a `layout`.

`referred(State)(words)` is a `State` to compiled code: `s.ranks` is an array whose address is loaded where
it is used, `s.ranks[r].field` a load from there. Nothing else is copied or counted. What a layout describes
never changes while compiled code runs, and its loads say so (`invariant.load`), so that loops load it once.

Arrays of such a tuple know `a[i]`, `a[i, j]`, `len(a)` and `a.shape`; an index counts from 0, never from the
end, and there are no views. Whole numbers are read as 64 bits, however many hold them, so that what is done
with them is compiled once. That is all that a simulation needs, and a fifth of the code of numba's own arrays
and records. The types follow from annotations alone: no other value of the tuple compiles anything again.
"""

from __future__ import annotations

import operator
import zlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
    type_callable,
)
from numba.np.arrayobj import make_array

from llmopt_calibration.layout import WORD, Block, Layout, Number, layout_of

Value = TypeVar("Value")

_WORD: Final = ir.IntType(64)
_BYTE: Final = ir.IntType(8)
_NUMBERS: Final = {"i": types.int64, "u": types.uint64, "f": types.float64, "b": types.boolean}
"""What a number is to compiled code, by the kind of its `dtype`."""


class Reference(types.Type):
    """A pointer to the words of a named tuple."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        super().__init__(name=f"Reference({layout.name})")


class Rows(types.Type):
    """A pointer to the words of an array."""

    def __init__(self, block: Block) -> None:
        self.dtype, self.ndim = block.dtype, block.ndim
        super().__init__(name=f"Rows({_name(block.dtype)}, {block.ndim})")


class Row(types.Type):
    """A pointer to a record."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.fields = {name: field[:2] for name, field in (dtype.fields or {}).items()}
        super().__init__(name=f"Row({_name(dtype)})")


def referred(tuple_class: Callable[..., Value]) -> Callable[[Any], Value]:
    """What turns the words of a tuple of this class into the tuple, in compiled code."""
    reference = Reference(layout_of(tuple_class))

    @intrinsic
    def refer(context: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = make_array(signature.args[0])(context, builder, arguments[0])
            return builder.bitcast(array.data, _WORD.as_pointer())

        return reference(words), generate

    return refer


@register_model(Reference)
@register_model(Rows)
class _WordPointer(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _WORD.as_pointer())


@register_model(Row)
class _BytePointer(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _BYTE.as_pointer())


def _name(dtype: np.dtype[Any]) -> str:
    return dtype.str if dtype.names is None else f"{zlib.crc32(repr(dtype.descr).encode()):08x}"


def _type(kind: Number | Block | Layout) -> types.Type:
    if isinstance(kind, Layout):
        return Reference(kind)
    return Rows(kind) if isinstance(kind, Block) else _NUMBERS[kind.dtype.kind]


def _item_type(rows: Rows) -> types.Type:
    return _NUMBERS[rows.dtype.kind] if rows.dtype.names is None else Row(rows.dtype)


@infer_getattr
class _FieldOfTuple(AttributeTemplate):
    key = Reference

    def generic_resolve(self, reference: Reference, name: str) -> types.Type | None:
        field = reference.layout.fields.get(name)
        return None if field is None else _type(field[1])


@infer_getattr
class _FieldOfRecord(AttributeTemplate):
    key = Row

    def generic_resolve(self, row: Row, name: str) -> types.Type | None:
        field = row.fields.get(name)
        return None if field is None else _NUMBERS[field[0].kind]


@infer_getattr
class _ShapeOfArray(AttributeTemplate):
    key = Rows

    def resolve_shape(self, rows: Rows) -> types.Type:
        return types.UniTuple(types.intp, rows.ndim)


@type_callable(len)
def _type_len(context: Any) -> Any:
    return lambda rows: types.intp if isinstance(rows, Rows) else None


def _is_index(rows: types.Type, index: types.Type) -> bool:
    """Whether `index` is an item's place: a whole number, or one for each dimension."""
    if not isinstance(rows, Rows):
        return False
    places = tuple(index) if isinstance(index, types.BaseTuple) else (index,)
    return len(places) == rows.ndim and all(isinstance(place, types.Integer) for place in places)


@type_callable(operator.getitem)
def _type_getitem(context: Any) -> Any:
    return lambda rows, index: _item_type(rows) if _is_index(rows, index) else None


@type_callable(operator.setitem)
def _type_setitem(context: Any) -> Any:
    def typed(rows: types.Type, index: types.Type, value: types.Type) -> Any:
        known = _is_index(rows, index) and rows.dtype.names is None
        return types.none(rows, index, _item_type(rows)) if known else None

    return typed


def _at(builder: Any, place: Any, to: Any) -> Any:
    return builder.bitcast(place, to.as_pointer())


def _load_fixed(builder: Any, place: Any) -> Any:
    """Load what never changes."""
    value = builder.load(place)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def _stored(dtype: np.dtype[Any]) -> Any:
    """How a number lies in memory."""
    return ir.DoubleType() if dtype.kind == "f" else ir.IntType(8 * dtype.itemsize)


def _widen(builder: Any, dtype: np.dtype[Any], value: Any) -> Any:
    if dtype.kind == "b":
        return builder.trunc(value, ir.IntType(1))
    return value if dtype.itemsize == WORD.itemsize else builder.sext(value, _WORD)


def _read(builder: Any, dtype: np.dtype[Any], place: Any) -> Any:
    return _widen(builder, dtype, builder.load(_at(builder, place, _stored(dtype))))


def _write(context: Any, builder: Any, dtype: np.dtype[Any], place: Any, value: Any) -> None:
    """Store a value of the type that `_read` gives."""
    if dtype.kind == "b":
        value = builder.zext(value, _BYTE)
    elif dtype.itemsize < WORD.itemsize:
        value = builder.trunc(value, _stored(dtype))
    builder.store(value, _at(builder, place, _stored(dtype)))


@lower_getattr_generic(Reference)
def _get_field(context: Any, builder: Any, reference: Reference, words: Any, name: str) -> Any:
    word, kind = reference.layout.fields[name]
    place = builder.gep(words, [_WORD(word)])
    if not isinstance(kind, Number):
        return place
    return _widen(builder, kind.dtype, _load_fixed(builder, _at(builder, place, _stored(kind.dtype))))


def _field(builder: Any, row: Row, record: Any, name: str) -> tuple[np.dtype[Any], Any]:
    """The type and the address of a field."""
    dtype, offset = row.fields[name]
    return dtype, builder.gep(record, [_WORD(offset)])


@lower_getattr_generic(Row)
def _get_field_of_record(context: Any, builder: Any, row: Row, record: Any, name: str) -> Any:
    return _read(builder, *_field(builder, row, record, name))


@lower_setattr_generic(Row)
def _set_field_of_record(context: Any, builder: Any, signature: Any, arguments: Any, name: str) -> None:
    (row, value_type), (record, value) = signature.args, arguments
    dtype, place = _field(builder, row, record, name)
    _write(context, builder, dtype, place, context.cast(builder, value, value_type, _NUMBERS[dtype.kind]))


def _length(builder: Any, words: Any, axis: int) -> Any:
    return _load_fixed(builder, builder.gep(words, [_WORD(1 + axis)]))


@lower_getattr_generic(Rows)
def _get_shape(context: Any, builder: Any, rows: Rows, words: Any, name: str) -> Any:
    lengths = [_length(builder, words, axis) for axis in range(rows.ndim)]
    return context.make_tuple(builder, types.UniTuple(types.intp, rows.ndim), lengths)


@lower_builtin(len, Rows)
def _get_len(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _length(builder, arguments[0], 0)


def _item(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The address of an item."""
    (rows, index), (words, place) = signature.args[:2], arguments[:2]
    if isinstance(index, types.BaseTuple):
        numbers = [builder.extract_value(place, axis) for axis in range(len(index))]
        places = [context.cast(builder, *pair, types.intp) for pair in zip(numbers, index, strict=True)]
    else:
        places = [context.cast(builder, place, index, types.intp)]
    offset = places[0]
    for axis, next_place in enumerate(places[1:], 1):
        offset = builder.add(builder.mul(offset, _length(builder, words, axis)), next_place)
    items = _load_fixed(builder, _at(builder, words, _BYTE.as_pointer()))
    return builder.gep(items, [builder.mul(offset, _WORD(rows.dtype.itemsize))])


@lower_builtin(operator.getitem, Rows, types.Integer)
@lower_builtin(operator.getitem, Rows, types.BaseTuple)
def _get_item(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    item, dtype = _item(context, builder, signature, arguments), signature.args[0].dtype
    return item if dtype.names is not None else _read(builder, dtype, item)


@lower_builtin(operator.setitem, Rows, types.Integer, types.Any)
@lower_builtin(operator.setitem, Rows, types.BaseTuple, types.Any)
def _set_item(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
    rows, _, value_type = signature.args
    item = _item(context, builder, signature, arguments)
    value = context.cast(builder, arguments[2], value_type, _item_type(rows))
    _write(context, builder, rows.dtype, item, value)
