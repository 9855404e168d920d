"""Measured serving points: a row is one model, engine, layout and closed loop with its mean latencies.

The columns are those of the public comparison tables that InferenceX and AIConfigurator publish:
`model_path` (or `model_canon`), `system`, `backend`, `precision`, `isl`, `osl`, `concurrency`, for an
aggregated server `tp`, `attn_dp`, `moe_tp`, `moe_ep` and `gpus`, for a disaggregated one `prefill_*` and
`decode_*` with their worker counts. `tp` there is the tensor parallelism of attention, so that an instance
has tp × attn_dp accelerators.  Lengths are uniform in [0.8 L, L] tokens unless the means say otherwise.

A row that means nothing is refused with the reason, never repaired; a row without measured latencies is a
point to predict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from llmopt_calibration.sources.measurements import sha256_of
from llmopt_calibration.sources.serving_cells import PointError, count, number
from llmopt_calibration.sources.serving_layouts import PointPool, pools
from llmopt_problems import catalog
from llmopt_problems.deployment import Mode
from llmopt_problems.errors import ProblemError
from llmopt_problems.models.spec import MoeFfn, WeightPrecision

__all__ = [
    "PointError",
    "PointPool",
    "ServingPoint",
    "ServingRows",
    "catalog_model",
    "checked_rows",
    "read_serving_points",
]
ENGINES = ("sglang", "vllm", "trtllm")
MODES: Mapping[str, Mode] = {"agg": "aggregated", "disagg": "disaggregated"}
WEIGHTS = ("bf16", "fp8", "fp4", "int4")
REQUIRED = ("model_path", "system", "backend", "mode", "isl", "osl", "concurrency")
SHORTEST_SHARE = 0.8
"""Shortest length over longest, of the load generator's uniform lengths."""
LATENCY_RANGE_MS = {"ttft_ms": (0.1, 3.6e6), "tpot_ms": (0.05, 1e4)}
LARGEST_CONCURRENCY = 100_000
LARGEST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class ServingPoint:
    """One measured (or wanted) closed loop."""

    id: str
    tier: str
    model: str
    """Catalog name."""
    model_family: str
    """What pairs are made of: the table's own name of the model."""
    moe: bool
    accelerator: str
    engine: str
    engine_version: str
    weights: WeightPrecision
    mode: Mode
    pools: tuple[PointPool, ...]
    shortest_input: int
    longest_input: int
    shortest_output: int
    longest_output: int
    concurrency: int
    ttft_s: float | None
    tpot_s: float | None
    source: str
    """Who measured it, as the table says."""

    @property
    def pair(self) -> tuple[str, str]:
        """Model and accelerator: what cross-validation holds out whole."""
        return (self.model_family, self.accelerator)

    @property
    def accelerators(self) -> int:
        """Accelerators of all pools."""
        return sum(pool.instances * pool.layout.world for pool in self.pools)

    @property
    def kind(self) -> str:
        """`dense`, `moe` or `disagg`: the class that errors are reported by."""
        if self.mode == "disaggregated":
            return "disagg"
        return "moe" if self.moe else "dense"


@dataclass(frozen=True, slots=True)
class ServingRows:
    """A table of serving points: every row is a point or an error."""

    frame: pd.DataFrame
    """The table as it was read, all cells text or missing."""
    rows: tuple[ServingPoint | PointError, ...]
    sha256: str

    @property
    def points(self) -> tuple[ServingPoint, ...]:
        """The rows that are points."""
        return tuple(row for row in self.rows if isinstance(row, ServingPoint))

    @property
    def refused(self) -> dict[str, int]:
        """Number of refused rows by reason."""
        return dict(Counter(str(row) for row in self.rows if isinstance(row, PointError)).most_common())


def read_serving_points(path: Path) -> ServingRows:
    """Every row of the CSV file `path` as a point or as the reason why it is none.

    Raises `ValueError` when the file is no table of serving points (required columns are missing, no rows).
    """
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path}: column {', '.join(missing)} is missing: a table of serving points has "
            f"{', '.join(REQUIRED)} and the layout columns"
        )
    if frame.empty:
        raise ValueError(f"{path}: the table has no rows")
    cells = ({str(key): str(cell) for key, cell in row.items()} for row in frame.to_dict(orient="records"))
    return ServingRows(frame, checked_rows(cells), sha256_of(path))


def checked_rows(cells: Iterable[dict[str, str]]) -> tuple[ServingPoint | PointError, ...]:
    """Rows of text, by column name, each as a point or as the reason why it is none."""
    return tuple(_each_checked(cells))


def _each_checked(rows: Iterable[Mapping[str, str]]) -> Iterator[ServingPoint | PointError]:
    seen: set[str] = {""}
    for row in rows:
        if (name := row.get("id", "")) in seen and name:
            yield PointError("repeated id: the row stands in the table already")
            continue
        seen.add(name)
        try:
            yield _point(row)
        except PointError as error:
            yield error


def _point(row: Mapping[str, str]) -> ServingPoint:
    engine, mode = _choice(row, "backend", ENGINES), _choice(row, "mode", tuple(MODES))
    model = catalog_model(row)
    spec = catalog.model(model)
    inputs, outputs = _lengths(row, "isl"), _lengths(row, "osl")
    return ServingPoint(
        id=row.get("id", ""),
        tier=row.get("tier", ""),
        model=model,
        model_family=row.get("model_canon") or model,
        moe=any(isinstance(group.ffn, MoeFfn) for group in spec.layers),
        accelerator=_accelerator(row["system"]),
        engine=engine,
        engine_version=row.get("backend_version") or row.get("image", ""),
        weights=_weights(row, spec.native_weights),
        mode=MODES[mode],
        pools=pools(row, MODES[mode], spec),
        shortest_input=inputs[0],
        longest_input=inputs[1],
        shortest_output=outputs[0],
        longest_output=outputs[1],
        concurrency=count(row, "concurrency", LARGEST_CONCURRENCY),
        ttft_s=_latency(row, "ttft_ms"),
        tpot_s=_latency(row, "tpot_ms"),
        source=" ".join(filter(None, (row.get("family", ""), row.get("image", "")))),
    )


def catalog_model(row: Mapping[str, str]) -> str:
    """The catalog's name of a row's model: by `model_canon` where the catalog has it, else `model_path`."""
    for name in (row.get("model_canon", ""), row["model_path"]):
        try:
            return catalog.model(name).name
        except ProblemError:
            continue
    raise PointError(f"model {row['model_path']!r} is not in the catalog: add its config.json")


def _accelerator(system: str) -> str:
    try:
        return catalog.accelerator(system).name
    except ProblemError:
        raise PointError(f"system {system!r} is not in the catalog") from None


def _weights(row: Mapping[str, str], native: WeightPrecision) -> WeightPrecision:
    """The precision served: the model's own block format where the row says fp8 without saying which.

    Blocks come with the checkpoint: a model published in fp8 blocks is served so, others per tensor unless
    the table names blocks. A row without precision is the published checkpoint.
    """
    name = row.get("precision") or _first_word(row, "gemm_quant_mode")
    if not name:
        return native
    if name not in WEIGHTS and name != "fp8_block":
        raise PointError(f"precision {name!r} is none of {', '.join(WEIGHTS)}")
    blocks = "fp8_block" in (native, row.get("gemm_quant_mode"), row.get("moe_quant_mode"))
    if name in ("fp8", "fp8_block"):
        return "fp8_block" if blocks else "fp8"
    return "bf16" if name == "bf16" else "int4" if name == "int4" else "fp4"


def _first_word(row: Mapping[str, str], column: str) -> str:
    return {"nvfp4": "fp4", "": "", "bfloat16": "bf16"}.get(row.get(column, ""), row.get(column, ""))


def _lengths(row: Mapping[str, str], column: str) -> tuple[int, int]:
    """Shortest and longest length: constant where the stated mean is the nominal length."""
    longest = count(row, column, LARGEST_TOKENS)
    stated = row.get(f"{column}_mean", "")
    mean = number(row, f"{column}_mean") if stated else (1 + SHORTEST_SHARE) / 2 * longest
    shortest = round(2 * mean - longest)
    if not 1 <= shortest <= longest:
        raise PointError(f"{column}_mean is outside [{column}/2, {column}]: check its unit")
    return shortest, longest


def _choice(row: Mapping[str, str], column: str, known: tuple[str, ...]) -> str:
    if row[column] not in known:
        raise PointError(f"{column} {row[column]!r} is none of {', '.join(known)}")
    return row[column]


def _latency(row: Mapping[str, str], column: str) -> float | None:
    """A measured mean in seconds; None where the cell is empty."""
    if not row.get(column):
        return None
    low, high = LATENCY_RANGE_MS[column]
    value = number(row, column)
    if not low <= value <= high:
        raise PointError(f"{column} is not from {low:g} to {high:g} milliseconds: check its unit")
    return value * 1e-3
