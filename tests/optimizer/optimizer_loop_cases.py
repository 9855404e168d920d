"""Small problems for the tests of metrics, formulation and loop, written as the YAML of a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from sympy import Symbol

from llmopt_optimizer.core.columns import Columns, CompiledPool
from llmopt_optimizer.core.program import Decision, Program, System
from llmopt_optimizer.formulation.build import build_program
from llmopt_optimizer.frozen import from_traffic
from llmopt_optimizer.loop.prediction import Predictor, predictor
from llmopt_optimizer.loop.study import Study, open_study
from llmopt_optimizer.scenario import Scenario, resolve
from llmopt_optimizer.symbols import frozen_symbols
from llmopt_problems import Problem, load

SMALL: Mapping[str, Any] = {
    "kind": "deployment",
    "name": "small",
    "model": {"name": "Llama-3.1-8B", "weights": "bf16", "kv_cache": "bf16"},
    "hardware": {"accelerators": [{"name": "H100-SXM", "count": 4, "price": "2 USD/h"}]},
    "engine": "sglang",
    "traffic": {
        "arrivals": {"process": "poisson", "rate": "8 req/s"},
        "input_tokens": {"distribution": "constant", "value": 1000},
        "output_tokens": {"distribution": "constant", "value": 100},
    },
    "slo": [{"metric": "ttft", "statistic": "p95", "at_most": "1 s"}],
    "search": {
        "modes": ["aggregated"],
        "tp": {"choices": [1, 2]},
        "pp": {"choices": [1]},
        "instances": {"choices": [1, 2]},
        "chunk_tokens": {"choices": [512, 2048]},
        "batch_cap": {"choices": [16, 64]},
        "prefix_cache": False,
    },
    "objectives": [
        {"minimize": "cost_per_million_output_tokens"},
        {"minimize": "tpot", "statistic": "p95"},
    ],
    "verification": {"confidence": 0.95, "requests": 300, "replications": 3, "max_rounds": 8, "seed": 1},
    "limits": {"time": "30 min"},
}
"""Sixteen aggregated deployments of an 8B model: a few seconds to solve."""

WIDE: Mapping[str, Any] = {
    "hardware": {"accelerators": [{"name": "H100-SXM", "count": 64, "price": "2 USD/h"}]},
    "search": {
        "modes": ["aggregated", "disaggregated"],
        "tp": {"choices": [1, 2, 4, 8]},
        "pp": {"choices": [1, 2]},
        "instances": {"choices": [1, 2, 3, 5, 8]},
        "chunk_tokens": {"choices": [256, 1000, 2048, 8192]},
        "batch_cap": {"choices": [8, 64, 255]},
    },
}
"""Both modes, every kind of layout, and accelerators enough for most of them."""

MIXTRAL: Mapping[str, Any] = {"name": "Mixtral-8x7B", "weights": "bf16", "kv_cache": "bf16"}
EXPERT_LAYOUTS: Mapping[str, Any] = {"ep": {"choices": [1, 2, 4]}, "attention_dp": {"choices": [1, 2, 4]}}
CLOSED_LOOP: Mapping[str, Any] = {"process": "closed_loop", "concurrency": 32}
VARIED_LENGTHS: Mapping[str, Any] = {
    "input_tokens": {"distribution": "lognormal", "mean": 1000, "cv": 0.7},
    "output_tokens": {"distribution": "exponential", "mean": 100},
}
KINDS = ("dense_open", "dense_closed", "moe_open", "moe_closed")


def merged(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `layers` laid over it; where both have a mapping, its keys are merged."""
    result = dict(base)
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = {**result[key], **value} if both else value
    return result


def problem_of(*layers: Mapping[str, Any]) -> Problem:
    """The small problem with `layers` laid over it, written as a file and loaded."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "problem.yaml"
        path.write_text(yaml.safe_dump(merged(SMALL, *layers), sort_keys=False))
        return load(path)


def study_of(problem: Problem) -> tuple[Study, Mapping[Symbol, float]]:
    """The study of a problem and the numbers of its frozen symbols before any simulation."""
    study, frozen = open_study(resolve(problem))
    return study, frozen.parameters()


@dataclass(frozen=True, slots=True, repr=False)
class Formulas:
    """All metrics of a wide problem, symbolic and compiled, and the numbers that its traffic gives them.

    Without a repr: pytest would spend minutes on printing expressions.
    """

    scenario: Scenario
    program: Program
    predictor: Predictor
    parameters: Mapping[Symbol, float]

    def metrics(
        self, system: System, columns: list[Columns], parameters: Mapping[Symbol, float]
    ) -> dict[str, Any]:
        """Every metric of the joined rows `columns[0][i], columns[1][i], …`, arrays by name."""
        known: dict[Symbol, Any] = {symbol: np.float64(value) for symbol, value in parameters.items()}
        for part in columns:
            known |= part.attributes
        compiled = self.predictor.metrics[system.name]
        return dict(zip(compiled.names, compiled.function(known, (len(columns[0]),)), strict=True))


@cache
def formulas(kind: str) -> Formulas:
    """The formulas of one of `KINDS`, built once in a test session."""
    model, loop = kind.split("_")
    layers: list[Mapping[str, Any]] = [WIDE]
    if model == "moe":
        layers.append({"model": MIXTRAL, "search": EXPERT_LAYOUTS})
    if loop == "closed":
        layers.append({"traffic": {"arrivals": CLOSED_LOOP, **VARIED_LENGTHS}})
    scenario = resolve(problem_of(*layers))
    frozen = from_traffic(scenario.traffic, prefix_cache=False)
    program = build_program(scenario, frozen)
    return Formulas(scenario, program, predictor(program), frozen.parameters())


def random_parameters(made: Formulas, rng: np.random.Generator) -> dict[Symbol, float]:
    """Frozen numbers far from those of the traffic: lengths, rates, cache hits, variabilities and spreads."""
    symbols = frozen_symbols()
    inputs, outputs = rng.uniform(50, 6000), 10 ** rng.uniform(0.3, 2.9)
    hit = inputs * rng.choice([0.0, rng.uniform(0, 0.9)])
    drawn = {
        symbols.request_rate_per_s: 10 ** rng.uniform(-2, 1.7),
        symbols.concurrency: float(rng.integers(1, 300)),
        symbols.input_tokens: inputs,
        symbols.decode_tokens: outputs,
        symbols.hit_tokens: hit,
        symbols.decode_context_tokens: inputs + outputs * rng.uniform(0.3, 1),
        symbols.prefill_context_tokens: (inputs + hit) / 2 * rng.uniform(1, 2),
        symbols.reserved_tokens: inputs + outputs,
        symbols.arrival_scv: rng.uniform(0, 3),
        symbols.prefill_scv: rng.uniform(0, 3),
        symbols.decode_scv: rng.uniform(0, 3),
    }
    spreads = {symbol: rng.uniform(0.3, 3) for symbol in made.parameters if symbol not in drawn}
    return {symbol: float(value) for symbol, value in (drawn | spreads).items()}


def thinned(pool: CompiledPool, rng: np.random.Generator, most: int) -> CompiledPool:
    """The pool with at most `most` random values of each decision; the compiled functions stay."""

    def thin(decision: Decision) -> Decision:
        values = rng.permutation(np.array(decision.values))[:most]
        return Decision(decision.symbol, tuple(int(value) for value in values))

    variants = tuple(
        replace(v, variant=replace(v.variant, decisions=tuple(map(thin, v.variant.decisions))))
        for v in pool.variants
    )
    return CompiledPool(replace(pool.pool, variants=tuple(v.variant for v in variants)), variants)


@dataclass(frozen=True, slots=True, repr=False)
class Rows:
    """Feasible assignments of one system under one set of frozen numbers, as joined tables."""

    system: System
    parameters: Mapping[Symbol, float]
    columns: list[Columns]
    metrics: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns[0])


def random_rows(made: Formulas, rng: np.random.Generator, most: int) -> Iterator[Rows]:
    """For ever: fresh frozen numbers, and of each system at most `most` random feasible assignments."""
    while True:
        parameters = random_parameters(made, rng)
        for system in made.program.systems:
            pools = [thinned(made.predictor.pools[system.name, pool.name], rng, 2) for pool in system.pools]
            tables = [pool.tabulate(parameters) for pool in pools]
            if all(len(table) for table in tables):
                joined = [table.take(rng.integers(0, len(table), most)) for table in tables]
                yield Rows(system, parameters, joined, made.metrics(system, joined, parameters))
