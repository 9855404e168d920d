"""Requests of a run as a table: a pandas frame, a CSV, JSON or Parquet file, and back without losing a bit.

JSON is `{"format": "llmopt-requests", "version": 1, "columns": {name: [values]}}` with null for NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.errors import SimulationError
from llmopt_simulator.files import write_whole
from llmopt_simulator.levels import class_ids
from llmopt_simulator.measure import latency_table
from llmopt_simulator.run import Run
from llmopt_simulator.shares import MOMENTS, phases

if TYPE_CHECKING:
    import pandas as pd


SUFFIXES: Final = (".csv", ".json", ".parquet")
"""Of the files that requests are written to."""

_FORMAT: Final = {"format": "llmopt-requests", "version": 1}
_FLAGS: Final = ("served", "turned_away", "measured")


def request_columns(run: Run) -> dict[str, NDArray[Any]]:
    """Every request of a run, columns of shape (n,) with their unit in the name.

    The number and class, moments (NaN when rejected), tokens, ranks (-1: none), how often the request was
    retracted and what it prefilled again, whether it was served, turned away by a full queue (others were
    rejected because they never fit) and measured, its latencies and the seconds of its phases.
    """
    number = np.arange(len(run.finished))
    measured = np.zeros(len(number), np.bool_)
    measured[run.window.members] = True
    return {
        "request": number,
        "class": class_ids(run.workload.requests),
        **{name: run.column(name) for name in (*MOMENTS, "input_tokens", "output_tokens")},
        "hit_tokens": run.hit_tokens,
        "host_hit_tokens": run.host_hit_tokens,
        "rank": run.column("rank"),
        "decode_rank": run.column("decode_rank"),
        "retractions": run.column("retractions"),
        "recomputed_tokens": run.column("recomputed_tokens"),
        "served": run.finished,
        "turned_away": run.column("turned_away"),
        "measured": measured,
        **{f"{name}_s": values for name, values in latency_table(run).items() if name != "queueing"},
        **{f"{name}_s": values for name, values in phases(run).items()},
    }


def request_frame(run: Run) -> pd.DataFrame:
    """Every request of a run as a frame; columns as in `request_columns`."""
    import pandas as pd

    return pd.DataFrame(request_columns(run))


def write_requests(run: Run, path: str | Path) -> None:
    """Write every request to `path`, whole or not at all: `.csv`, `.json`, or `.parquet` with pyarrow.

    Raises `SimulationError` for another suffix or without pyarrow.
    """
    path = Path(path)
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": lambda target: request_frame(run).to_csv(target, index=False),
        ".json": lambda target: target.write_text(_json_text(run), encoding="utf-8"),
        ".parquet": lambda target: request_frame(run).to_parquet(target, index=False, engine="pyarrow"),
    }
    _check_format(path)
    write_whole(path, writers[path.suffix])


def read_requests(path: str | Path) -> pd.DataFrame:
    """The frame that `write_requests` wrote, equal to the last bit; raises `SimulationError` as it does."""
    import pandas as pd

    path = Path(path)
    _check_format(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path, engine="pyarrow")
    if path.suffix == ".json":
        return pd.DataFrame(_json_columns(path))
    text = pd.read_csv(path, dtype=str, keep_default_na=False)  # pandas' own parser rounds some numbers
    return pd.DataFrame({name: _parsed(name, text[name].to_numpy(str)) for name in text.columns})


def _parsed(name: str, words: NDArray[np.str_]) -> NDArray[Any]:
    """A column from its words, by its name: seconds, flags, else whole numbers. No word means NaN."""
    if name.endswith("_s"):
        return np.where(words == "", "nan", words).astype(np.float64)
    return words == "True" if name in _FLAGS else words.astype(np.int64)


def _json_text(run: Run) -> str:
    columns = {name: [_plain(value) for value in values] for name, values in request_columns(run).items()}
    return json.dumps({**_FORMAT, "columns": columns}) + "\n"


def _plain(value: Any) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value.item()


def _json_columns(path: Path) -> dict[str, NDArray[Any]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or {key: document.get(key) for key in _FORMAT} != _FORMAT:
        raise SimulationError(f"{path}: is no table of requests of version {_FORMAT['version']}")
    return {
        name: np.array(values, np.float64 if name.endswith("_s") else None)
        for name, values in document["columns"].items()
    }


def _check_format(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise SimulationError(f"{path}: requests are written as {known}, not {path.suffix!r}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise SimulationError(f"{path}: Parquet needs pyarrow: pip install pyarrow, or write .csv")
