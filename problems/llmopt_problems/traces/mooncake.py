"""Mooncake traces: JSON lines of arrival time, lengths and chained hashes of 512-token blocks.

Format: github.com/kvcache-ai/Mooncake, FAST25-release/traces; `timestamp` in milliseconds, `hash_ids` one for
each 512 tokens of input, the last of them possibly partial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from .documents import parse_line
from .rows import Place, Row, check_tokens, lines

BLOCK_TOKENS = 512
MAX_TIMESTAMP_MS = 10**15
"""Some thirty thousand years: anything later is a unit gone wrong."""


def rows(file: Path) -> Iterator[Row]:
    """The requests of `file`, one a line; only blocks that the input fills count."""
    for number, text in lines(file):
        yield _row(_record(text, Place(file, number)), text, Place(file, number))


def _record(text: str, place: Place) -> dict[str, object]:
    remedy = 'write {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}'
    record = parse_line(text, place, remedy)
    for key in ("timestamp", "input_length", "output_length", "hash_ids"):
        if key not in record:
            raise place.error(f"{key} is missing", "trace-column", remedy)
    return record


def _row(record: dict[str, object], text: str, place: Place) -> Row:
    def there(key: str) -> Place:
        return Place(place.file, place.line, text.find(f'"{key}"') + 1)

    inputs = check_tokens(record["input_length"], "input_length", there("input_length"))
    outputs = check_tokens(record["output_length"], "output_length", there("output_length"))
    blocks = _blocks(record["hash_ids"], there("hash_ids"))
    return Row(place.line, _seconds(record, there), inputs, outputs, blocks[: inputs // BLOCK_TOKENS])


def _seconds(record: dict[str, object], there: Callable[[str], Place]) -> float:
    value = record["timestamp"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TIMESTAMP_MS:
        remedy = "write milliseconds since the start, 0 or more"
        raise there("timestamp").error("timestamp is no time", "trace-time", remedy, value)
    return value / 1000


def _blocks(value: object, place: Place) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise place.error("hash_ids is no list of whole numbers", "trace-blocks", "write [0, 1, …]", value)
    return tuple(value)
