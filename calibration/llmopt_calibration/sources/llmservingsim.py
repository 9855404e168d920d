"""Kernel profiles of LLMServingSim 2: times of every layer of a model under vLLM, one folder a TP degree.

`meta.yaml` says what was measured; `tpN/dense.csv` has seconds by tokens, `per_sequence.csv` by sequences,
`attention.csv` by (prefill tokens, context before them, decodes, context of each decode), all in
microseconds a layer. `skew.csv` times a decode batch of unequal contexts between two equal ones, one of
the mean and one of the longest context; its times are sums over the repetitions (three times those of
`attention.csv` at shared shapes), so that only their ratio is read, and it counts only where `meta.yaml` says
that the sweep was enabled. Rows that mean nothing are dropped and counted by reason. Source:
github.com/casys-kaist/LLMServingSim (MIT), documentation "Output bundle" and "Trace generation".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.measurements import Provenance, sha256_of

PACKAGE: Final = "LLMServingSim 2 profile"
ATTENTION_AXES: Final = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
SKEW_SHAPE: Final = ("n", "nb", "pc", "kp", "kv_big", "kv_mean")
SKEW_TIMES: Final = ("t_mean_us", "t_max_us", "t_skew_us")
LONGEST_KERNEL_US: Final = 1e7
LARGEST_COUNT: Final = 2**24
_S_PER_US: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Seconds of one layer at rising counts (tokens or sequences)."""

    counts: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def at(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds at `counts`: linear between the measured ones, NaN outside them."""
        return np.interp(counts, self.counts, self.seconds, left=np.nan, right=np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class KernelProfile:
    """Measured kernel times of one model on one accelerator, as each rank of `tp` sees them."""

    accelerator: str
    model: str
    engine: str
    tp: int
    dense: Mapping[str, Curve]
    """By layer: seconds by tokens of a step."""
    per_sequence: Mapping[str, Curve]
    """By layer: seconds by sequences of a step."""
    attention: pd.DataFrame
    """Columns `ATTENTION_AXES` and seconds of one layer."""
    skew: pd.DataFrame
    """Columns `SKEW_SHAPE` (decodes, long ones among them, prefill and contexts) and `share`: how far from
    the batch of mean to the batch of longest contexts the unequal one lies. Empty where not enabled."""
    provenance: Mapping[str, Provenance]
    """By table."""
    dropped: Mapping[str, Mapping[str, int]]
    """Rows left out, by table and reason."""


def read_kernel_profile(directory: Path, tp: int, skewed: bool | None = None) -> KernelProfile:
    """The profile in `directory` (with `meta.yaml`) at one TP degree.

    `skewed` says whether its sweep of unequal contexts is read; None: as its `meta.yaml` says. Raises
    `SourceError` for a missing file, degree or column and for a table without one row that can be true.
    """
    meta = _meta(directory / "meta.yaml", tp)
    if skewed is None:
        skewed = bool(dict(meta.get("skew_fit") or {}).get("enabled"))
    names = ["dense", "per_sequence", "attention"] + (["skew"] if skewed else [])
    paths = {name: directory / f"tp{tp}" / f"{name}.csv" for name in names}
    attention, no_attention = _attention(paths["attention"])
    dense, no_dense = _curves(paths["dense"], "tokens")
    per_sequence, no_sequence = _curves(paths["per_sequence"], "sequences")
    skew, no_skew = _skew(paths["skew"]) if skewed else (_no_skew(), {})
    version = str(meta.get("profiler_version", "unknown"))
    return KernelProfile(
        str(meta["gpu"]),
        str(meta["model"]),
        f"vllm {meta['vllm_version']}",
        tp,
        dense,
        per_sequence,
        attention,
        skew,
        {
            name: Provenance(PACKAGE, version, f"tp{tp}/{name}.csv", sha256_of(path))
            for name, path in paths.items()
        },
        {"dense": no_dense, "per_sequence": no_sequence, "attention": no_attention, "skew": no_skew},
    )


def _meta(path: Path, tp: int) -> Mapping[str, Any]:
    if not path.is_file():
        raise SourceError(path, "no such file", "a profile has meta.yaml beside its tpN folders")
    try:
        meta = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(
            path, f"is no YAML ({error})", "give the meta.yaml that the profiler wrote"
        ) from error
    missing = [
        key
        for key in ("gpu", "model", "vllm_version", "tp_degrees")
        if not isinstance(meta, dict) or key not in meta
    ]
    if missing:
        raise SourceError(path, f"lacks {', '.join(missing)}", "give the meta.yaml that the profiler wrote")
    if tp not in meta["tp_degrees"]:
        raise SourceError(path, f"tp {tp} was not profiled", f"choose one of {meta['tp_degrees']}")
    return dict(meta)


def _table(path: Path, numbers: tuple[str, ...], text: tuple[str, ...] = ()) -> pd.DataFrame:
    """The named columns, numbers as floats (NaN where a cell is none)."""
    if not path.is_file():
        raise SourceError(path, "no such file", "profile this TP degree again")
    try:
        frame = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:  # pandas raises subclasses of ValueError
        raise SourceError(path, f"is no CSV ({error})", "give the table that the profiler wrote") from error
    missing = [name for name in (*text, *numbers) if name not in frame.columns]
    if missing:
        raise SourceError(path, f"lacks the columns {missing}", f"it has {list(frame.columns)}")
    values = {name: pd.to_numeric(frame[name], errors="coerce").astype(float) for name in numbers}
    return pd.DataFrame({name: frame[name].astype(str) for name in text} | values)


def _keep(
    path: Path, frame: pd.DataFrame, rules: Mapping[str, NDArray[np.bool_]]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that break none of `rules` (reason: rows that break it), and the others by first reason."""
    good = np.ones(len(frame), dtype=bool)
    dropped = {}
    for reason, broken in rules.items():
        dropped[reason] = int(np.sum(good & broken))
        good &= ~broken
    if not good.any():
        raise SourceError(path, f"no row is left of {len(frame)} (dropped {dropped})", "check its units")
    return frame[good].reset_index(drop=True), dropped


def _nonsense(
    frame: pd.DataFrame, counts: tuple[str, ...], times: tuple[str, ...]
) -> dict[str, NDArray[np.bool_]]:
    """Rules for whole counts and for microseconds of one kernel."""
    number, time = frame[list(counts)].to_numpy(), frame[list(times)].to_numpy()
    return {
        "not a number": ~np.isfinite(frame[[*counts, *times]].to_numpy()).all(axis=1),
        "not a count": ((number < 0) | (number > LARGEST_COUNT) | (number != np.floor(number))).any(axis=1),
        "no time": (time <= 0.0).any(axis=1),
        "longer than 10 s": (time > LONGEST_KERNEL_US).any(axis=1),
    }


def _curves(path: Path, axis: str) -> tuple[dict[str, Curve], dict[str, int]]:
    frame = _table(path, (axis, "time_us"), ("layer",))
    rules = _nonsense(frame, (axis,), ("time_us",)) | {f"no {axis}": (frame[axis] < 1).to_numpy()}
    kept, dropped = _keep(path, frame, rules)
    merged = kept.groupby(["layer", axis], sort=True)["time_us"].median().reset_index()
    curves = {}
    for layer, rows in merged.groupby("layer"):
        if len(rows) < 2:
            raise SourceError(path, f"layer {layer} has one point", "measure at least two")
        curves[str(layer)] = Curve(rows[axis].to_numpy(), rows["time_us"].to_numpy() * _S_PER_US)
    return curves, dropped | {"repeated shape": len(kept) - len(merged)}


def _attention(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    frame = _table(path, (*ATTENTION_AXES, "time_us"))
    chunk, before, decodes, context = (frame[name].to_numpy() for name in ATTENTION_AXES)
    rules = _nonsense(frame, ATTENTION_AXES, ("time_us",)) | {
        "empty batch": (chunk == 0) & (decodes == 0),
        "context of no tokens": ((chunk == 0) & (before > 0)) | ((decodes == 0) & (context > 0)),
    }
    kept, dropped = _keep(path, frame, rules)
    merged = kept.groupby(list(ATTENTION_AXES), sort=True)["time_us"].median().reset_index()
    merged["seconds"] = merged.pop("time_us") * _S_PER_US
    return merged, dropped | {"repeated shape": len(kept) - len(merged)}


def _skew(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    frame = _table(path, (*SKEW_SHAPE, *SKEW_TIMES))
    mean, longest, unequal = (frame[name].to_numpy() for name in SKEW_TIMES)
    rules = _nonsense(frame, SKEW_SHAPE, SKEW_TIMES) | {
        "long ones not among the decodes": ((frame.nb < 1) | (frame.nb >= frame.n)).to_numpy(),
        "longest no slower than mean": longest <= mean,
    }
    kept, dropped = _keep(path, frame, rules)
    mean, longest, unequal = (kept[name].to_numpy() for name in SKEW_TIMES)
    shape = kept[list(SKEW_SHAPE)].copy()
    shape["share"] = (unequal - mean) / (longest - mean)
    return shape, dropped


def _no_skew() -> pd.DataFrame:
    return pd.DataFrame({name: np.zeros(0) for name in (*SKEW_SHAPE, "share")})
