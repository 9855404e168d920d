"""Frozen parameters: the numbers that the expressions read and only traffic or simulation can give.

They start as what the traffic says by itself (lengths, rates, an infinite prefix cache, no spread) and are
replaced by what simulation measured around the last proposals. Between two measurements they are constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sympy import Symbol

from llmopt_optimizer.formulation.class_metrics import class_spreads
from llmopt_optimizer.formulation.systems import modes
from llmopt_optimizer.metrics.service import LATENCIES
from llmopt_optimizer.result import ASSUMED, TRAFFIC, FrozenParameter
from llmopt_optimizer.scenario import Scenario
from llmopt_optimizer.symbols import FrozenSymbols, attainment_symbol, frozen_symbols, spread_symbol
from llmopt_problems.metrics_catalog import STATISTICS
from llmopt_problems.traffic import TrafficSummary

SMALLEST_DECODE_TOKENS = 1e-6
"""Stands for no decode step at all: answers of one token end with prefill, and nothing may divide by zero."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A number for every frozen symbol, with its interval and its meaning."""

    records: Mapping[Symbol, FrozenParameter]

    def parameters(self) -> dict[Symbol, float]:
        """The numbers, as a program takes them."""
        return {symbol: record.value for symbol, record in self.records.items()}

    def measured(self, values: Mapping[Symbol, FrozenParameter]) -> Frozen:
        """The same parameters with those in `values` replaced."""
        return replace(self, records={**self.records, **values})


def from_traffic(traffic: TrafficSummary, *, prefix_cache: bool) -> Frozen:
    """What is known before any simulation."""
    hit = min(traffic.mean_shared_prefix_tokens, traffic.mean_input_tokens - 1) if prefix_cache else 0.0
    symbols = frozen_symbols()
    numbers = _traffic_numbers(symbols, traffic, hit)
    records = {
        symbol: FrozenParameter(symbol.name, value, value, value, unit, meaning, TRAFFIC)
        for symbol, (value, unit, meaning) in numbers.items()
    }
    return Frozen(records | _without_spread())


def starting_frozen(scenario: Scenario) -> Frozen:
    """What is known of a scenario before any simulation, the spreads of its classes included."""
    prefix_cache = scenario.problem.search.prefix_cache
    known = from_traffic(scenario.traffic, prefix_cache=prefix_cache)
    return known.measured(class_spreads(scenario.problem))


def _traffic_numbers(
    symbols: FrozenSymbols, traffic: TrafficSummary, hit: float
) -> dict[Symbol, tuple[float, str, str]]:
    """Value, unit and meaning of every number that the traffic gives."""
    inputs, outputs = traffic.mean_input_tokens, traffic.mean_output_tokens
    rate, users = traffic.request_rate_per_s or 1.0, float(traffic.concurrency or 1)
    decoded = max(outputs - 1, SMALLEST_DECODE_TOKENS)
    decode_context, context = traffic.mean_decode_context_tokens, prefill_context(traffic, hit)
    scv = 1.0 if traffic.arrival_scv is None else traffic.arrival_scv
    return {
        symbols.request_rate_per_s: (rate, "1/s", "requests offered a second"),
        symbols.concurrency: (users, "users", "users of a closed loop"),
        symbols.think_s: (traffic.mean_think_s, "s", "mean pause of a closed-loop user between requests"),
        symbols.input_tokens: (inputs, "tokens", "mean input tokens"),
        symbols.decode_tokens: (decoded, "tokens", "mean output tokens after the first"),
        symbols.hit_tokens: (hit, "tokens", "mean input tokens found in the prefix cache"),
        symbols.decode_context_tokens: (decode_context, "tokens", "mean context of a decoding sequence"),
        symbols.prefill_context_tokens: (
            context,
            "tokens",
            "mean context that a computed prompt token attends to",
        ),
        symbols.reserved_tokens: (inputs + outputs, "tokens", "mean KV tokens of a request"),
        symbols.arrival_scv: (scv, "1", "arrival variability"),
        symbols.prefill_scv: (traffic.scv_input_tokens, "1", "variability of prefill work"),
        symbols.decode_scv: (traffic.scv_output_tokens, "1", "variability of output lengths"),
    }


def prefill_context(traffic: TrafficSummary, hit: float) -> float:
    """Mean context of a computed prompt token: Σ over tokens hit … input of their position, over their
    number.
    """
    pairs = (traffic.second_moment_input_tokens - hit**2) / 2
    return float(pairs / (traffic.mean_input_tokens - hit))


def _without_spread() -> dict[Symbol, FrozenParameter]:
    names = {
        spread_symbol(mode, metric, statistic): f"simulated {statistic} {metric} over its formula, {mode}"
        for mode in modes()
        for metric in LATENCIES
        for statistic in STATISTICS
    }
    names |= {attainment_symbol(mode): f"share of requests within every SLO, {mode}" for mode in modes()}
    return {
        symbol: FrozenParameter(symbol.name, 1.0, 1.0, 1.0, "1", meaning, ASSUMED)
        for symbol, meaning in names.items()
    }
