"""Compiled code reads and writes through a pointer what Python reads and writes in the named tuple."""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from llmopt_calibration.layout import layout_of, pack
from llmopt_calibration.reference import referred

RECORD: Final = np.dtype([("flag", "?"), ("small", "i4"), ("count", "i8"), ("time_s", "f8")], align=True)


class Inside(NamedTuple):
    """What the other tuple holds."""

    scale: float
    table: Annotated[NDArray[np.float64], 2]


class Outside(NamedTuple):
    """Every kind of field that a layout knows."""

    number: int
    holds: bool
    records: Annotated[NDArray[Any], RECORD]
    bits: NDArray[np.uint64]
    small: Annotated[NDArray[np.int32], 2]
    inside: Inside


_at = referred(Outside)


@njit
def _change(words: NDArray[Any]) -> tuple[int, int, int, float]:
    """Touch every field: what is read goes into what is written."""
    s = _at(words)
    row = s.records[1]
    row.small, row.flag, row.time_s = row.small - 7, not row.flag, s.inside.scale * row.time_s
    s.records[0].count += s.number if s.holds else -s.number
    s.bits[2] |= s.bits[0]
    for i in range(s.small.shape[0]):
        for j in range(s.small.shape[1]):
            s.small[i, j] += 10 * i + j
    s.inside.table[2, 1] = s.inside.table[0, 1] / 2.0
    return len(s.records), len(s.inside.table), s.inside.table.shape[1], s.inside.scale


def _outside(*, holds: bool) -> Outside:
    records = np.zeros(3, RECORD)
    records["small"], records["time_s"] = [1, -2, 3], [0.5, 1.5, 2.5]
    bits = np.array([1 << 63, 0, 1], np.uint64)
    table = np.arange(8.0).reshape(4, 2)
    return Outside(-5, holds, records, bits, np.full((2, 3), -3, np.int32), Inside(2.5, table))


@pytest.mark.parametrize("holds", [True, False])
def test_compiled_code_changes_the_arrays_of_the_tuple(holds: bool) -> None:
    value = _outside(holds=holds)
    assert _change(pack(value).words) == (3, 4, 2, 2.5)
    assert value.records[0]["count"] == (-5 if holds else 5)
    assert value.records[1].item() == (True, -9, 0, 3.75)
    assert value.records[2].item() == (False, 3, 0, 2.5)
    np.testing.assert_array_equal(value.bits, np.array([1 << 63, 0, (1 << 63) | 1], np.uint64))
    np.testing.assert_array_equal(value.small, [[-3, -2, -1], [7, 8, 9]])
    assert value.inside.table[2, 1] == 0.5
    assert value.inside.table.sum() == np.arange(8.0).sum() - 4.5


def test_other_sizes_and_values_compile_nothing_again() -> None:
    _change(pack(_outside(holds=True)).words)
    before = len(_change.signatures)
    larger = _outside(holds=False)._replace(records=np.zeros(9, RECORD), number=2**40)
    _change(pack(larger).words)
    assert len(_change.signatures) == before
    assert larger.records[0]["count"] == -(2**40)


def test_words_lie_as_the_annotations_say() -> None:
    layout = layout_of(Outside)
    places = {name: place for name, (place, _) in layout.fields.items()}
    assert places == {"number": 0, "holds": 1, "records": 2, "bits": 4, "small": 6, "inside": 9}
    assert layout.words == len(pack(_outside(holds=True)).words) == 13


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": np.zeros(3, np.int64)},
        {"small": np.zeros(3, np.int32)},
        {"small": np.zeros((2, 6), np.int32)[:, ::2]},
        {"records": np.zeros(3, [("flag", "?")])},
        {"inside": Inside(1.0, np.zeros(4))},
    ],
)
def test_an_array_that_is_not_as_declared_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{'table' if 'inside' in wrong else next(iter(wrong))} is declared"):
        pack(_outside(holds=True)._replace(**wrong))
