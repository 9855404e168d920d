"""Frozen parameters: what the simulator measures because no formula gives it, for formulas to read."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from llmopt_simulator.kernel import state as k
from llmopt_simulator.measure import PERCENTS, squared_variation
from llmopt_simulator.run import Run

MEANINGS: Mapping[str, str] = {
    "hit_rate": "share of input tokens whose KV was cached",
    "matched_tokens": "mean cached prefix of a request, tokens",
    "arrival_scv": "squared coefficient of variation of the gaps between arrivals",
    "service_scv": "squared coefficient of variation of the time from admission to the end of prefill",
    "mean_decode_context": "mean context of a decoded token, tokens",
    "mean_batch": "mean decode batch of a rank while its engine steps",
    "queue_wait_s": "mean time from arrival to admission",
} | {
    f"{name}_tail_p{percent}": f"{percent}th percentile of {name} over its mean"
    for name in ("ttft", "tpot", "itl", "e2e")
    for percent in PERCENTS
}
"""Every frozen parameter with its meaning."""


def frozen_parameters(run: Run, values: Mapping[str, float]) -> dict[str, float]:
    """The frozen parameters of a run with metrics `values`; names as in `MEANINGS`.

    Tail ratios are NaN where there is no tail: no second token, or a saturated run.
    """
    measured = slice(run.window.start, run.window.stop)
    service_s = (run.column("prefilled_s") - run.column("admitted_s"))[measured]
    totals, pool = run.window.totals().sum(axis=0), run.deployment.pools[-1]
    decoded = totals[k.DECODE_TOKENS]
    frozen = {
        "hit_rate": values["hit_rate"],
        "matched_tokens": values["matched_tokens_mean"],
        "arrival_scv": squared_variation(np.diff(run.column("arrival_s")[measured])),
        "service_scv": squared_variation(service_s[np.isfinite(service_s)]),
        "mean_decode_context": float(totals[k.CONTEXT_TOKENS] / decoded) if decoded > 0 else math.nan,
        "mean_batch": values[f"mean_batch_{pool.role}"],
        "queue_wait_s": values["queueing_mean_s"],
    }
    return frozen | _tail_ratios(values)


def _tail_ratios(values: Mapping[str, float]) -> dict[str, float]:
    ratios = {}
    for name in ("ttft", "tpot", "itl", "e2e"):
        mean = values[f"{name}_mean_s"]
        for percent in PERCENTS:
            usable = 0.0 < mean < math.inf
            ratios[f"{name}_tail_p{percent}"] = values[f"{name}_p{percent}_s"] / mean if usable else math.nan
    return ratios
