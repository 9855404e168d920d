"""Frozen parameters: what the simulator measures because no formula gives it, for formulas to read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.expert_draws import drawn_imbalance
from llmopt_simulator.intervals import percentiles
from llmopt_simulator.kernel import state as k
from llmopt_simulator.measure import LATENCIES, PERCENTS
from llmopt_simulator.run import Run
from llmopt_simulator.saturation import squared_variation
from llmopt_simulator.speculating import verified_tokens

MATCHED_PERCENTS: Final = (50, 90, 99)
"""Percentiles of the matched length."""

MEANINGS: Mapping[str, str] = (
    {
        "hit_rate": "share of input tokens whose KV was cached",
        "hit_share": "share of requests with a cached prefix",
        "matched_tokens": "mean cached prefix of a request, tokens",
    }
    | {
        f"matched_tokens_p{percent}": f"{percent}th percentile of a request's cached prefix, tokens"
        for percent in MATCHED_PERCENTS
    }
    | {
        "arrival_scv": "squared coefficient of variation of the gaps between arrivals",
        "service_scv": "squared coefficient of variation of the time from admission to the end of prefill",
        "decode_service_scv": "squared coefficient of variation of the time from first token to last",
        "mean_decode_context": "mean context of a sequence in a decode step, tokens",
        "accepted_tokens": "tokens that a decode step makes a sequence, accepted drafts and its own",
        "mean_batch": "mean decode batch of a rank while its engine steps",
        "expert_imbalance": "choices of experts in the busiest group over the mean, in a step of mean size",
        "batch_occupancy": "mean decode batch over the batch cap",
        "queue_wait_s": "mean time from arrival to admission",
        "prefill_load": "share of time that engines which prefill step with prefill tokens",
        "decode_load": "share of time that engines which decode step with decodes",
        "kv_link_utilisation": "share of its bandwidth that the busier side's KV links used",
    }
    | {
        f"{name}_tail_p{percent}": f"{percent}th percentile of {name} over its mean"
        for name in LATENCIES
        for percent in PERCENTS
    }
)
"""Every frozen parameter with its meaning."""


def frozen_parameters(run: Run, values: Mapping[str, float]) -> dict[str, float]:
    """The frozen parameters of a run with metrics `values`; names as in `MEANINGS`.

    NaN where there is nothing to measure: tail ratios without a second token or in a saturated run, matched
    lengths when nothing was served, KV links in aggregated serving.
    """
    totals, pool = run.window.totals().sum(axis=0), run.deployment.pools[-1]
    decoded = totals[k.DECODED]
    links = [value for name, value in values.items() if name.startswith("kv_link_utilisation_")]
    measured = {
        "mean_decode_context": float(totals[k.CONTEXT_TOKENS] / decoded) if decoded > 0 else math.nan,
        "accepted_tokens": float(totals[k.DECODE_TOKENS] / decoded) if decoded > 0 else math.nan,
        "mean_batch": values[f"mean_batch_{pool.role}"],
        "expert_imbalance": _expert_imbalance(run),
        "batch_occupancy": values[f"mean_batch_{pool.role}"] / pool.batch_cap,
        "queue_wait_s": values["queueing_mean_s"],
        "prefill_load": values["prefill_load"],
        "decode_load": values["decode_load"],
        "kv_link_utilisation": max(links, default=math.nan),
    }
    return _prefix_matches(run, values) | _variability(run) | measured | _tail_ratios(values)


def _expert_imbalance(run: Run) -> float:
    """Drawn for the steps of the engines that decode."""
    decoding = run.state.engines["pool"] == run.state.engines["pool"].max()
    totals = run.window.totals()[decoding].sum(axis=0)
    verified = verified_tokens(run.deployment.pools[-1]) * totals[k.DECODED]
    tokens = (totals[k.PREFILL_TOKENS] + verified) / max(1.0, totals[k.STEPS])
    return drawn_imbalance(run.service.pools[-1].experts, float(tokens), run.seed)


def _prefix_matches(run: Run, values: Mapping[str, float]) -> dict[str, float]:
    matched = _measured(run, run.hit_tokens.astype(np.float64))
    found = zip(MATCHED_PERCENTS, percentiles(matched, MATCHED_PERCENTS), strict=True)
    return {
        "hit_rate": values["hit_rate"],
        "hit_share": float(np.mean(matched > 0)) if len(matched) else math.nan,
        "matched_tokens": values["matched_tokens_mean"],
    } | {f"matched_tokens_p{percent}": value for percent, value in found}


def _variability(run: Run) -> dict[str, float]:
    arrivals = np.sort(run.column("arrival_s")[run.window.members])  # rejected ones too
    admitted, prefilled, first, finish = (
        _measured(run, run.column(name))
        for name in ("admitted_s", "prefilled_s", "first_token_s", "finish_s")
    )
    return {
        "arrival_scv": squared_variation(np.diff(arrivals)),
        "service_scv": squared_variation(prefilled - admitted),
        "decode_service_scv": squared_variation((finish - first)[finish > first]),
    }


def _measured(run: Run, column: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values of the measured requests that were served."""
    measured = run.window.members
    return column[measured][run.finished[measured]]


def _tail_ratios(values: Mapping[str, float]) -> dict[str, float]:
    ratios = {}
    for name in LATENCIES:
        mean = values[f"{name}_mean_s"]
        for percent in PERCENTS:
            usable = 0.0 < mean < math.inf
            ratios[f"{name}_tail_p{percent}"] = values[f"{name}_p{percent}_s"] / mean if usable else math.nan
    return ratios
