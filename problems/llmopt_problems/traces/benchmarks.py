"""Results of serving benchmarks with one entry a request: SGLang's bench_serving and vLLM's bench serve.

Format: a JSON object with the lists `input_lens` and `output_lens` (`--output-details` in SGLang, one run a
line; `--save-detailed` in vLLM, one run a file), `errors`, and in newer vLLM `start_times` in seconds. Those
with an error are left out. Many tasks send requests at the same time, so the lists are sorted by start time
where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .documents import values
from .rows import Place, Row, Stream, check_seconds, check_tokens

REMEDY = "run the benchmark with --output-details (SGLang) or --save-detailed (vLLM)"


def stream(file: Path) -> Stream:
    """The requests of the one run in `file`, timed when it records start times."""
    runs = values(file, REMEDY)
    place, run = next(runs, (Place(file, 1), None))
    if not isinstance(run, dict):
        raise place.error("there is no benchmark result", "trace-json", REMEDY)
    other = next(runs, None)
    if other is not None:
        raise other[0].error("there is a second run", "trace-runs", "keep one run in the file")
    return Stream(_rows(run, place), timed=run.get("start_times") is not None)


@dataclass(frozen=True, slots=True)
class _Entry:
    start: object
    inputs: object
    outputs: object
    error: object


def _rows(run: dict[str, object], place: Place) -> Iterator[Row]:
    entries = [
        _Entry(*entry)
        for entry in zip(
            _column(run, "start_times", place, needed=False),
            _column(run, "input_lens", place),
            _column(run, "output_lens", place),
            _column(run, "errors", place, needed=False),
            strict=True,
        )
    ]
    found = [_row(entry, index, place) for index, entry in enumerate(entries) if not entry.error]
    return iter(sorted(found, key=lambda row: row.arrival_s))


def _row(entry: _Entry, index: int, place: Place) -> Row:
    return Row(
        place.line,
        check_seconds(entry.start, f"start_times[{index}]", place),
        check_tokens(entry.inputs, f"input_lens[{index}]", place),
        check_tokens(entry.outputs, f"output_lens[{index}]", place),
    )


def _column(run: dict[str, object], name: str, place: Place, *, needed: bool = True) -> list[object]:
    """A list of the run, as long as `input_lens`; zeros for one that is not needed and not there."""
    given, inputs = run.get(name), run.get("input_lens")
    size = len(inputs) if isinstance(inputs, list) else 0
    if given is None and not needed:
        return [0] * size
    if not isinstance(given, list):
        raise place.error(f"the run has no list {name}", "trace-column", REMEDY)
    if len(given) != size:
        what = f"{name} has {len(given)} entries and input_lens {size}"
        raise place.error(what, "trace-column", "run the benchmark again")
    return given
