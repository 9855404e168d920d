"""`docs/accuracy.md`: what the engine layers are, and how far off predictions of pairs never seen are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from llmopt_calibration.engine import CONSTANTS
from llmopt_calibration.engine.fitting import EngineFit
from llmopt_optimizer.validation.score import summary

TARGETS: Mapping[str, tuple[float, float]] = {"dense": (10, 25), "moe": (15, 25), "disagg": (15, 25)}
"""Percent of TPOT and TTFT that are aimed at, by class."""
INTRODUCTION = """# How accurate predictions are

Every number on this page comes from one command:

    python -m llmopt_optimizer.validation --points POINTS.csv --docs docs/accuracy.md

It simulates the closed loop of every measured point of tier A (known image, no speculative decoding), fits
the few constants of each engine with whole (model, GPU) pairs held out, and scores each pair with the
constants that the other pairs gave. Operator coefficients come from kernel tables and never saw a served
request. Errors are |predicted / measured - 1| in percent, averaged within a pair and then over pairs; *shape*
is the error that remains after one scale for each curve over concurrency. Rerunning a configuration moves
TPOT by 0.5% (median) to 6.5% (P90) and TTFT by 3% to 14%.

Held out means here: no constant was fitted to the pair that it predicts. It does not mean unseen. Which
constants exist and are used, the engines' settings and several operators of the step law were chosen while
looking at errors on these same points, and the choice is not nested in the cross-validation. Expect new
pairs to be worse than this page; tier B below was not used for any fit, but it was looked at too.
"""


def accuracy_page(
    held_out: pd.DataFrame, shipped: pd.DataFrame, fits: Mapping[str, EngineFit], wrong: str
) -> str:
    """The page, from the held-out errors of tier A, the errors of all points as shipped, and the fits."""
    parts = [
        INTRODUCTION,
        "## By class, tier A, held out\n",
        _targets(summary(held_out, ("kind",))),
        "\n## By GPU, engine and class, tier A, held out\n",
        markdown(summary(held_out, ("gpu", "engine", "kind"))),
        "\n## By pair, tier A, held out\n",
        markdown(summary(held_out, ("pair", "kind"))),
        "\n## Tier B (load generator or image unknown; never fitted), constants as shipped\n",
        markdown(summary(shipped[shipped["tier"] == "B"], ("pair", "kind"))),
        "\n## The engine layer\n",
        _constants(fits),
        wrong,
    ]
    return "\n".join(parts).rstrip() + "\n"


def markdown(table: pd.DataFrame) -> str:
    """A summary as a Markdown table, percent with one digit."""
    names = [str(name) for name in table.index.names]
    header = [
        *names,
        "rows",
        "coverage",
        *(f"{q.upper()} {s}" for q in ("tpot", "ttft") for s in _STATISTICS),
    ]
    lines = [_line(header), _line(["---"] * len(header))]
    for key, row in table.iterrows():
        labels = list(key) if isinstance(key, tuple) else [key]
        errors = [_percent(row[f"{q}_{s}"]) for q in ("tpot", "ttft") for s in _STATISTICS]
        lines.append(_line([*map(str, labels), str(int(row["rows"])), _percent(row["coverage"]), *errors]))
    return "\n".join(lines)


_STATISTICS = ("mape", "median", "p90", "shape")


def _targets(table: pd.DataFrame) -> str:
    lines = [_line(["class", "rows", "TPOT MAPE", "aim", "TTFT MAPE", "aim", "TPOT shape", "coverage"])]
    lines.append(_line(["---"] * 8))
    for key, row in table.iterrows():
        kind = str(key[0] if isinstance(key, tuple) else key)
        tpot, ttft = TARGETS[kind]
        cells = [kind, str(int(row["rows"])), _percent(row["tpot_mape"]), f"{tpot:g}"]
        cells += [
            _percent(row["ttft_mape"]),
            f"{ttft:g}",
            _percent(row["tpot_shape"]),
            _percent(row["coverage"]),
        ]
        lines.append(_line(cells))
    return "\n".join(lines)


def _constants(fits: Mapping[str, EngineFit]) -> str:
    lines = [_line(["engine", "constant", "value", "leaving a pair out", "unit", "meaning"])]
    lines.append(_line(["---"] * 6))
    for engine, fit in fits.items():
        for name, constant in fit.constants.items():
            unit, _, meaning = CONSTANTS[name]
            interval = f"{constant.low:.3g} to {constant.high:.3g}"
            lines.append(_line([engine, f"`{name}`", f"{constant.value:.3g}", interval, unit, meaning]))
    lines += ["", "Held-out macro error (TPOT, TTFT) of every choice of constants that was tried:", ""]
    names = list(next(iter(fits.values())).candidates)
    lines += [_line(["constants", *fits]), _line(["---"] * (1 + len(fits)))]
    for name in names:
        errors = [" , ".join(_percent(error) for error in fit.candidates[name]) for fit in fits.values()]
        lines.append(_line([name, *errors]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return "-" if pd.isna(share) else f"{100 * share:.1f}"
