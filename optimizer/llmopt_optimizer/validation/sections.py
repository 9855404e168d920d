"""Sections of the accuracy page beside the errors: operators, choices, accelerators left out, error bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from llmopt_calibration.coefficients.store import ENGINES, read_file
from llmopt_optimizer.validation.decision import Decisions

OPERATOR_AIMS: Final[Mapping[str, float]] = {
    "gemm": 8,
    "batched_gemm": 8,
    "attention": 10,
    "mla": 10,
    "all_reduce": 10,
    "all_gather": 10,
    "reduce_scatter": 10,
    "moe": 12,
    "all_to_all": 12,
    "expert_": 12,
    "linear_attention": 10,
}
"""Percent that is aimed at, by the beginning of a family's name."""
RESAMPLES: Final = 1000
"""Bootstrap samples behind an error bar."""


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def percent(share: float) -> str:
    """A share in percent with one digit; a dash where there is none."""
    return "-" if pd.isna(share) else f"{100 * share:.1f}"


def operators_section(accelerators: Sequence[str]) -> str:
    """Held-out error of every measured family: a row a family, the engines of each accelerator in order."""
    measured = {(a, e): read_file(a, e) for a in accelerators for e in ENGINES}
    families = sorted({family for file in measured.values() for family in file})
    lines = [line(["family", "aim", *accelerators]), line(["---"] * (2 + len(accelerators)))]
    for family in families:
        cells = [_by_engine([measured[(a, engine)].get(family) for engine in ENGINES]) for a in accelerators]
        lines.append(line([family, _aim(family), *cells]))
    return "\n".join(lines)


def _by_engine(found: Sequence[object]) -> str:
    errors = [getattr(item, "held_out_error", None) for item in found]
    return " / ".join("-" if error is None else f"{100 * error:.1f}" for error in errors)


def _aim(family: str) -> str:
    return next((f"{aim:g}" for start, aim in OPERATOR_AIMS.items() if family.startswith(start)), "-")


def decision_section(plain: Decisions, careful: Decisions) -> str:
    """Scores of choices by class, believing predictions and weighing their errors."""
    header = ["class", "choices", "score", "weighing errors", "bound broken", "nothing predicted to fit"]
    lines = [line(header), line(["---"] * len(header))]
    for kind in (*sorted(set(plain.table["kind"])), "all"):
        rows = [each.table if kind == "all" else _of_kind(each.table, kind) for each in (plain, careful)]
        shares = [percent(float(rows[1][name].mean())) for name in ("broken", "empty")]
        scores = [f"{float(row['score'].mean()):.2f} ({_interval(row, 'score')})" for row in rows]
        lines.append(line([kind, str(len(rows[0])), *scores, *shares]))
    low, high = careful.cautions
    return "\n".join(lines) + f"\n\nCaution, leaving a pair out: {low:g} to {high:g}.\n"


def _of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table.loc[table["kind"] == kind]


def _interval(table: pd.DataFrame, column: str) -> str:
    low, high = bootstrap(table, column, by="choice")
    return f"{low:.2f} to {high:.2f}"


def transfer_section(own: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> str:
    """TPOT error of every accelerator with its own tables and with those of others; ratios to its own."""
    header = ["gpu", "rows", "own tables", *(cell for name in others for cell in (name, "ratio"))]
    lines = [line(header), line(["---"] * len(header))]
    for gpu, group in own.groupby("gpu", sort=True):
        error = _macro(group)
        cells = [str(gpu), str(len(group)), percent(error)]
        for table in others.values():
            left_out = _macro(table.loc[table["gpu"] == gpu])
            cells += [percent(left_out), f"{left_out / error:.2f}"]
        lines.append(line(cells))
    return "\n".join(lines)


def _macro(table: pd.DataFrame) -> float:
    return float(table.groupby("pair")["tpot_error"].mean().mean())


def bootstrap(table: pd.DataFrame, column: str, by: str = "curve") -> tuple[float, float]:
    """The 90% interval of a macro average over pairs: pairs are drawn anew, and in each its curves."""
    rng = np.random.default_rng(0)
    pairs = [
        [part[column].dropna().to_numpy(float) for _, part in group.groupby(by)]
        for _, group in table.groupby("pair")
    ]
    means = [
        np.mean([_drawn_mean(pairs[one], rng) for one in rng.integers(0, len(pairs), len(pairs))])
        for _ in range(RESAMPLES)
    ]
    low, high = np.nanquantile(means, [0.05, 0.95])
    return float(low), float(high)


def _drawn_mean(curves: Sequence[np.ndarray], rng: np.random.Generator) -> float:
    drawn = np.concatenate([curves[one] for one in rng.integers(0, len(curves), len(curves))])
    return float(drawn.mean()) if len(drawn) else float("nan")
