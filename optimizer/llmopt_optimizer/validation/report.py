"""`docs/accuracy.md`: what the engine layers are, and how far off predictions of pairs never seen are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from llmopt_calibration.engine import CONSTANTS
from llmopt_calibration.engine.fitting import EngineFit
from llmopt_optimizer.validation.decision import Decisions
from llmopt_optimizer.validation.score import summary
from llmopt_optimizer.validation.sections import (
    bootstrap,
    decision_section,
    line,
    operators_section,
    percent,
    transfer_section,
)

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

OPERATOR_GPUS = ("H100-SXM", "H200-SXM", "B200", "GB200")
CHOICES = """Among measured points that differ only in layout and users, the highest predicted throughput an
accelerator whose predicted TPOT meets a bound (25th, 50th and 75th percentile of the measured TPOTs) is
picked, from held-out predictions. The score is its measured throughput over that of the best point that meets
the bound, zero when the pick breaks it or nothing is predicted to fit (aim 0.85; AIConfigurator 0.12 scores
0.57 on its own rows). *Weighing errors*: predicted throughput is multiplied by P^caution, where P is the
probability that the bound is kept by the errors of the other pairs (measured over predicted TPOT), and the
highest is picked; caution is fitted with the pair left out; the last two columns are of this rule. In
brackets the 90% interval of a bootstrap over pairs and choices.
"""
LEFT_OUT = """TPOT error in percent with an accelerator's own operator tables, with those of the most similar
other one scaled by peak, bandwidth and multiprocessors, and with those of another generation (aim: 1.5 times
the own). Engine constants are those of the other pairs.
"""
OPERATORS = """Mean absolute relative error in percent on the fifth of the shapes that no fit saw, by engine
(sglang / vllm / trtllm).
"""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the page is made of."""

    held_out: pd.DataFrame
    """Errors of tier A, each pair under the constants of the others."""
    shipped: pd.DataFrame
    """Errors of all points under the constants as bundled."""
    fits: Mapping[str, EngineFit]
    plain: Decisions
    careful: Decisions
    left_out: Mapping[str, pd.DataFrame]
    """Errors of tier A without an accelerator's own tables, by what was left out."""


def accuracy_page(found: Findings, wrong: str) -> str:
    """The page; `wrong` is the text on causes at its end."""
    held_out, shipped = found.held_out, found.shipped
    parts = [
        INTRODUCTION,
        "## By class, tier A, held out\n",
        _targets(held_out),
        "\n## Choices\n",
        CHOICES,
        decision_section(found.plain, found.careful),
        "## An accelerator left out\n",
        LEFT_OUT,
        transfer_section(held_out, found.left_out),
        "\n## Operators, held-out shapes\n",
        OPERATORS,
        operators_section(OPERATOR_GPUS),
        "\n## By GPU, engine and class, tier A, held out\n",
        markdown(summary(held_out, ("gpu", "engine", "kind"))),
        "\n## By pair, tier A, held out\n",
        markdown(summary(held_out, ("pair", "kind"))),
        "\n## Tier B (load generator or image unknown; never fitted), constants as shipped\n",
        markdown(summary(shipped[shipped["tier"] == "B"], ("pair", "kind"))),
        "\n## The engine layer\n",
        _constants(found.fits),
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
    lines = [line(header), line(["---"] * len(header))]
    for key, row in table.iterrows():
        labels = list(key) if isinstance(key, tuple) else [key]
        errors = [percent(row[f"{q}_{s}"]) for q in ("tpot", "ttft") for s in _STATISTICS]
        lines.append(line([*map(str, labels), str(int(row["rows"])), percent(row["coverage"]), *errors]))
    return "\n".join(lines)


_STATISTICS = ("mape", "median", "p90", "shape")


def _targets(held_out: pd.DataFrame) -> str:
    """A row a class: errors with the 90% interval of a bootstrap over pairs and their curves."""
    header = ["class", "rows", "TPOT MAPE", "90%", "aim", "TTFT MAPE", "90%", "aim"]
    header += ["TPOT shape", "TTFT shape", "coverage"]
    lines = [line(header), line(["---"] * len(header))]
    for key, row in summary(held_out, ("kind",)).iterrows():
        kind = str(key[0] if isinstance(key, tuple) else key)
        rows, cells = held_out.loc[held_out["kind"] == kind], [kind, str(int(row["rows"]))]
        for name, aim in zip(("tpot", "ttft"), TARGETS[kind], strict=True):
            low, high = bootstrap(rows, f"{name}_error")
            cells += [percent(row[f"{name}_mape"]), f"{percent(low)} to {percent(high)}", f"{aim:g}"]
        lines.append(line([*cells, *(percent(row[n]) for n in ("tpot_shape", "ttft_shape", "coverage"))]))
    return "\n".join(lines)


def _constants(fits: Mapping[str, EngineFit]) -> str:
    lines = [line(["engine", "constant", "value", "leaving a pair out", "unit", "meaning"])]
    lines.append(line(["---"] * 6))
    for engine, fit in fits.items():
        for name, constant in fit.constants.items():
            unit, _, meaning = CONSTANTS[name]
            interval = f"{constant.low:.3g} to {constant.high:.3g}"
            lines.append(line([engine, f"`{name}`", f"{constant.value:.3g}", interval, unit, meaning]))
    lines += ["", "Held-out macro error (TPOT, TTFT, its shape) of every choice that was tried:", ""]
    lines += [line(["engine", "constants", "TPOT", "TTFT", "TTFT shape"]), line(["---"] * 5)]
    for engine, fit in fits.items():
        for name, errors in fit.candidates.items():
            lines.append(line([engine, name, *map(percent, (errors.tpot, errors.ttft, errors.ttft_shape))]))
    return "\n".join(lines) + "\n"
