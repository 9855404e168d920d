"""The project's own trace: a workload written down so that reading it gives the identical arrays.

JSON lines, packed when the name ends in .gz. The first line is the header,

    {"format": "llmopt-workload", "version": 1, "block_tokens": 16, "concurrency": null, "classes": [],
     "columns": ["class", "think_s", "follows"]}

whose `columns` name the optional keys that every row then has; the other lines are rows,

    {"arrival_s": 0.5, "input_tokens": 100, "output_tokens": 20, "blocks": [0, 1], "class": 0, "think_s": 0.0,
     "follows": -1}

with numbers in the shortest form that reads back exactly. Times and block ids are kept as they stand. The
writer is `llmopt_problems.traffic.save`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .documents import parse_line
from .rows import Place, Row, Stream, check_seconds, check_tokens, lines

FORMAT, VERSION = "llmopt-workload", 1
COLUMNS = ("class", "think_s", "follows")

_HEADER = f'start the file with {{"format": "{FORMAT}", "version": {VERSION}, "block_tokens": 16, …}}'
_ROW = 'write {"arrival_s": s, "input_tokens": n, "output_tokens": n, "blocks": [...]}'
_MAX_ID = 2**62


def stream(file: Path) -> Stream:
    """The trace in `file`; ProblemError, placed in it, when header or a row is broken."""
    numbered = lines(file)
    number, text = next(numbered, (1, ""))
    place = Place(file, number)
    header = parse_line(text, place, _HEADER)
    if header.get("format") != FORMAT:
        raise place.error("this is no llmopt workload", "trace-header", _HEADER, header.get("format"))
    if header.get("version") != VERSION:
        what = "this version of the format is unknown"
        raise place.error(what, "trace-version", f"write version {VERSION}", header.get("version"))
    columns = _columns(header.get("columns", []), place)
    concurrency = header.get("concurrency")
    block_tokens = check_tokens(header.get("block_tokens"), "block_tokens", place)
    return Stream(
        _rows(file, numbered, columns, block_tokens),
        block_tokens=block_tokens,
        original=True,
        concurrency=None if concurrency is None else check_tokens(concurrency, "concurrency", place),
        class_names=_names(header.get("classes", []), place),
        columns=columns,
    )


def _columns(value: object, place: Place) -> frozenset[str]:
    if not isinstance(value, list) or not all(name in COLUMNS for name in value):
        remedy = f"list some of {', '.join(COLUMNS)}"
        raise place.error("the columns of the header are wrong", "trace-header", remedy, value)
    return frozenset(value)


def _names(value: object, place: Place) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise place.error("classes is no list of names", "trace-header", 'write ["chat", "code"]', value)
    return tuple(value)


def _rows(
    file: Path, numbered: Iterator[tuple[int, str]], columns: frozenset[str], block_tokens: int
) -> Iterator[Row]:
    for index, (number, text) in enumerate(numbered):
        yield _row(text, index, columns, block_tokens, Place(file, number))


def _row(text: str, index: int, columns: frozenset[str], block_tokens: int, place: Place) -> Row:
    record = parse_line(text, place, _ROW)
    for key in ("arrival_s", "input_tokens", "output_tokens", "blocks", *sorted(columns)):
        if key not in record:
            raise place.error(f"{key} is missing", "trace-column", _ROW)

    def there(key: str) -> Place:
        return Place(place.file, place.line, text.find(f'"{key}"') + 1)

    inputs = check_tokens(record["input_tokens"], "input_tokens", there("input_tokens"))
    return Row(
        place.line,
        check_seconds(record["arrival_s"], "arrival_s", there("arrival_s")),
        inputs,
        check_tokens(record["output_tokens"], "output_tokens", there("output_tokens")),
        _blocks(record["blocks"], inputs // block_tokens, there("blocks")),
        _whole(record["class"], 0, _MAX_ID, there("class")) if "class" in columns else 0,
        check_seconds(record["think_s"], "think_s", there("think_s")) if "think_s" in columns else 0.0,
        _whole(record["follows"], -1, index - 1, there("follows")) if "follows" in columns else -1,
    )


def _whole(value: object, least: int, most: int, place: Place) -> int:
    if type(value) is not int or not least <= value <= most:
        remedy = f"write a whole number from {least} to {most}"
        raise place.error("this is no index", "trace-number", remedy, value)
    return value


def _blocks(value: object, most: int, place: Place) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(each) is int and 0 <= each <= _MAX_ID for each in value):
        raise place.error("blocks is no list of ids", "trace-blocks", "write [0, 1, …]", value)
    if len(value) > most:
        what = f"{len(value)} blocks are named and the input fills {most}"
        raise place.error(what, "trace-blocks", "name full blocks only")
    return tuple(value)
