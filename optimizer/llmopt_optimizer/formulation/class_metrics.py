"""Latencies of one class of requests, where a service level asks for them.

A formula knows the mean request, not who sent it. So a class has the formula of all requests with a spread
of its own, the ratio of what simulation measured of the class to that formula: until the first simulation
the prediction is that of all requests, then it is right where it was measured. Simulation decides, as ever.
"""

from __future__ import annotations

from dataclasses import replace

from sympy import Symbol

from llmopt_optimizer.core.program import System
from llmopt_optimizer.result import ASSUMED, FrozenParameter
from llmopt_optimizer.symbols import class_spread_symbol, spread_symbol
from llmopt_problems import Problem
from llmopt_problems.deployment import Mode
from llmopt_problems.metrics_catalog import metric_key
from llmopt_problems.schema.service import ServiceLevel


def class_levels(problem: Problem) -> tuple[ServiceLevel, ...]:
    """The service levels that are promised to one class."""
    return tuple(level for level in problem.slo if level.request_class is not None)


def class_number(problem: Problem, level: ServiceLevel) -> int | None:
    """The class of a level as requests are numbered; None for a level of all requests."""
    names = [each.name for each in problem.traffic.classes]
    return None if level.request_class is None else names.index(level.request_class)


def with_class_metrics(system: System, problem: Problem, mode: Mode) -> System:
    """The system with the latencies of classes that service levels bound."""
    metrics = dict(system.metrics)
    for level in class_levels(problem):
        whole = metrics[metric_key(level.metric, level.statistic)]
        shared = spread_symbol(mode, level.metric, level.statistic or "mean")
        metrics[level.key] = whole.xreplace({shared: class_spread_symbol(mode, level.key)})
    return replace(system, metrics=metrics)


def class_spreads(problem: Problem) -> dict[Symbol, FrozenParameter]:
    """The spreads of classes before any simulation: those of a class that is like all requests."""
    found = {}
    for mode in problem.search.modes:
        for key, symbol in class_spread_symbols(problem, mode).items():
            meaning = f"simulated {key} over the formula of all requests, {mode}"
            found[symbol] = FrozenParameter(symbol.name, 1.0, 1.0, 1.0, "1", meaning, ASSUMED)
    return found


def class_spread_symbols(problem: Problem, mode: Mode) -> dict[str, Symbol]:
    """The spread of every class latency of a mode, by key."""
    return {level.key: class_spread_symbol(mode, level.key) for level in class_levels(problem)}
