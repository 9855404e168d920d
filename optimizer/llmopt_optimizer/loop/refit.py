"""Re-measuring the frozen parameters at simulated deployments.

Spreads are the part of a latency that no formula gives: the ratio of a simulated statistic to its formula.
Where simulated deployments differ, the lower quartile of their ratios is frozen: an expression that errs on
the side of hope makes proposals that simulation then refuses, one that errs on the other side hides good
deployments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from sympy import Symbol

from llmopt_optimizer.formulation.class_metrics import class_spread_symbols
from llmopt_optimizer.formulation.systems import modes
from llmopt_optimizer.frozen import Frozen, prefill_context
from llmopt_optimizer.loop.prediction import Predictor
from llmopt_optimizer.loop.trials import Trial
from llmopt_optimizer.metrics.service import LATENCIES
from llmopt_optimizer.result import SIMULATED, FrozenParameter
from llmopt_optimizer.scenario import Scenario
from llmopt_optimizer.symbols import attainment_symbol, frozen_symbols, spread_symbol
from llmopt_problems.deployment import Mode
from llmopt_problems.metrics_catalog import STATISTICS, metric_key

HOPEFUL_QUANTILE = 0.25
"""Quantile of the ratios that is frozen; shares that are better when larger take the opposite one."""


def remeasured(scenario: Scenario, frozen: Frozen, predictor: Predictor, trials: Sequence[Trial]) -> Frozen:
    """The frozen parameters as the given trials show them; those that no trial shows stay."""
    steady = [trial for trial in trials if not trial.observation.saturated]
    if not steady:
        return frozen
    shared = frozen.measured(_shared(scenario, frozen, steady))
    found: dict[Symbol, FrozenParameter] = {}
    for mode in modes():
        mine = [trial for trial in steady if trial.observation.deployment.mode == mode]
        symbols = _latency_spreads(mode) | class_spread_symbols(scenario.problem, mode)
        found |= _spreads(mode, symbols, shared, predictor, mine)
    return shared.measured(found)


def _shared(scenario: Scenario, frozen: Frozen, trials: Sequence[Trial]) -> dict[Symbol, FrozenParameter]:
    symbols = frozen_symbols()
    hits = _frozen_values(trials, "matched_tokens")
    hit = min(float(np.mean(hits)), scenario.traffic.mean_input_tokens - 1)
    found = {
        symbols.hit_tokens: _record(frozen, symbols.hit_tokens, hit, hits),
        symbols.prefill_context_tokens: _record(
            frozen, symbols.prefill_context_tokens, prefill_context(scenario.traffic, hit), ()
        ),
    }
    contexts = _frozen_values(trials, "mean_decode_context")
    if contexts:
        mean = float(np.mean(contexts))
        found[symbols.decode_context_tokens] = _record(frozen, symbols.decode_context_tokens, mean, contexts)
    return found


def _frozen_values(trials: Iterable[Trial], name: str) -> list[float]:
    values = (trial.observation.frozen[name].value for trial in trials)
    return [value for value in values if math.isfinite(value)]


def _latency_spreads(mode: Mode) -> dict[str, Symbol]:
    return {
        metric_key(metric, statistic): spread_symbol(mode, metric, statistic)
        for metric in LATENCIES
        for statistic in STATISTICS
    }


def _spreads(
    mode: Mode, symbols: Mapping[str, Symbol], frozen: Frozen, predictor: Predictor, trials: Sequence[Trial]
) -> dict[Symbol, FrozenParameter]:
    plain = frozen.parameters() | dict.fromkeys(symbols.values(), 1.0)
    formulas = [predictor.at(trial.assignment, plain) for trial in trials]
    found = {
        symbol: _spread(frozen, symbol, _ratios(key, trials, formulas)) for key, symbol in symbols.items()
    }
    attained = [trial.observation.metrics["slo_attainment"].value for trial in trials]
    attainment = attainment_symbol(mode)
    if attained and max(attained) > 0:
        hopeful = float(np.quantile(attained, 1 - HOPEFUL_QUANTILE))
        found[attainment] = _record(frozen, attainment, hopeful, attained)
    return {symbol: record for symbol, record in found.items() if record is not None}


def _ratios(key: str, trials: Sequence[Trial], formulas: Sequence[Mapping[str, float]]) -> list[float]:
    pairs = (
        (trial.observation.metrics[key].value, formula.get(key, math.nan))
        for trial, formula in zip(trials, formulas, strict=True)
    )
    return [simulated / formula for simulated, formula in pairs if _usable(simulated) and _usable(formula)]


def _usable(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _spread(frozen: Frozen, symbol: Symbol, ratios: Sequence[float]) -> FrozenParameter | None:
    if not ratios:
        return None
    return _record(frozen, symbol, float(np.quantile(ratios, HOPEFUL_QUANTILE)), ratios)


def _record(frozen: Frozen, symbol: Symbol, value: float, seen: Sequence[float]) -> FrozenParameter:
    low, high = (min(seen), max(seen)) if seen else (value, value)
    return replace(frozen.records[symbol], value=value, low=low, high=high, source=SIMULATED)
