"""What rows share: the lowered law of a model on an accelerator, and the compiled steps of its layouts.

A table of serving points has few models and layouts and many concurrencies, so laws are lowered once a
model, accelerator, engine and precision (a `Bench`), and steps are compiled once a layout and size. Sizes are
rounded up to powers of two so that neighbouring rows meet in the same tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import sympy as sp

from llmopt_calibration import coefficients
from llmopt_calibration.coefficients import Basis, CoefficientSet
from llmopt_calibration.compiled import SECONDS, CompiledStep, StepCompiler, step_compiler
from llmopt_calibration.engine import EngineLayer, engine_layer
from llmopt_calibration.engine.memory import MemoryTerms, memory_terms
from llmopt_calibration.lowering import lower
from llmopt_calibration.memory import MemorySymbols, memory_law
from llmopt_calibration.precision import Precision
from llmopt_calibration.sources.serving_points import ServingPoint
from llmopt_calibration.step import StepLaw, StepSymbols, SymbolicLayout, step_law
from llmopt_calibration.tape import Tape
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout
from llmopt_problems.hardware.spec import AcceleratorSpec
from llmopt_problems.models.spec import ModelSpec
from llmopt_simulator import StepBounds

BASES: tuple[Basis, ...] = ("measured", "transferred", "default")
"""From the best to the worst."""
LEAST_SHARE = 0.05
"""Share of the time from which an operator's basis counts."""


class BenchKey(NamedTuple):
    """What a lowered law depends on."""

    model: str
    accelerator: str
    engine: str
    precision: Precision


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """One model in one precision on one accelerator under one engine, for any layout."""

    model: ModelSpec
    accelerator: AcceleratorSpec
    precision: Precision
    coefficients: CoefficientSet
    layer: EngineLayer
    layout: SymbolicLayout
    symbols: StepSymbols
    compiler: StepCompiler
    seconds: Tape
    """Seconds of every operator; inputs b, K, p, A, N, h and the layout."""
    bases: tuple[Basis, ...]
    """Basis of every operator, in the same order."""
    memory: Tape
    """The memory terms; inputs chunk tokens, batch cap and the layout."""


@dataclass(slots=True)
class Workshop:
    """Benches and compiled steps made so far; one a process."""

    probe_step_s: float | None = None
    """None: the engines as fitted. A number: neutral engines with that much more a step, for fitting them."""
    farther_than: float | None = None
    """Coefficients of accelerators farther away alone (`coefficients.load`); None: of the own one too."""
    benches: dict[BenchKey, Bench] = field(default_factory=dict)
    steps: dict[tuple[BenchKey, Layout, StepBounds], CompiledStep] = field(default_factory=dict)

    def bench(self, key: BenchKey) -> Bench:
        """The bench of `key`, lowered at the first call."""
        if key not in self.benches:
            neutral = self.probe_step_s is not None
            self.benches[key] = build_bench(key, neutral=neutral, farther_than=self.farther_than)
        return self.benches[key]

    def step(self, key: BenchKey, layout: Layout, bounds: StepBounds) -> CompiledStep:
        """The compiled step of a layout, large enough for `bounds`."""
        larger = StepBounds(
            *(_power_of_two(n) for n in (bounds.rank_tokens, bounds.engine_tokens, bounds.batch))
        )
        place = (key, layout, larger)
        if place not in self.steps:
            bench = self.bench(key)
            step = bench.compiler.compile(
                _layout_values(bench.layout, layout), larger.rank_tokens, larger.engine_tokens, larger.batch
            )
            self.steps[place] = _longer(step, self.probe_step_s or 0.0)
        return self.steps[place]


def bench_key(point: ServingPoint) -> BenchKey:
    """The bench that a point needs; the cache's precision is the engine's choice."""
    kv = engine_layer(point.engine).kv_precision(catalog.model(point.model), point.weights)
    return BenchKey(point.model, point.accelerator, point.engine, Precision(point.weights, kv))


def build_bench(key: BenchKey, *, neutral: bool = False, farther_than: float | None = None) -> Bench:
    """Lower every law of `key`; `neutral` engines cost nothing beside their kernels.

    With `farther_than` coefficients come from accelerators farther away.
    """
    model, accelerator = catalog.model(key.model), catalog.accelerator(key.accelerator)
    layout = SymbolicLayout()
    fitted = coefficients.load(key.accelerator, key.engine, farther_than=farther_than)
    fitted = _without_engine(fitted) if neutral else fitted
    law = step_law(model, accelerator, key.precision, layout, fitted)
    inputs = [*law.symbols.all(), *layout.symbols()]
    caps = MemorySymbols()
    terms = memory_terms(memory_law(model, key.precision, layout, caps))
    return Bench(
        model,
        accelerator,
        key.precision,
        fitted,
        engine_layer(key.engine),
        layout,
        law.symbols,
        step_compiler(_times_only(law), layout.symbols()),
        lower([operator.seconds for operator in law.operators], inputs),
        tuple(operator.basis for operator in law.operators),
        lower(terms, [caps.chunk_tokens, caps.batch_cap, *layout.symbols()]),
    )


def _times_only(law: StepLaw) -> StepLaw:
    """The law without its FLOP and bytes, which nobody asks for here: half the work of compiling."""
    nothing = dict.fromkeys(("flops", "hbm_bytes", "network_bytes"), sp.S.Zero)
    return replace(law, operators=tuple(replace(operator, **nothing) for operator in law.operators))


def _without_engine(fitted: CoefficientSet) -> CoefficientSet:
    own = fitted.family("engine_step")
    nothing = replace(own, values=dict.fromkeys(own.values, 0.0))
    return replace(fitted, families={**fitted.families, "engine_step": nothing})


def worst_basis(bench: Bench, layout: Layout, batch: float, context: float, share: float) -> Basis:
    """The worst basis of the operators with 5% of the time or more of an average step.

    A rank decodes `batch` sequences of `context` tokens and prefills `share` tokens for each of them.
    """
    prefill, ranks = batch * share, layout.dp
    tokens = ranks * (batch + prefill)
    state = (batch, batch * context, prefill, prefill * context / 2, tokens, batch)
    row = [*state, layout.tp, layout.pp, layout.ep, layout.dp]
    seconds = bench.seconds.rows([row])[0]
    carried = [b for b, s in zip(bench.bases, seconds, strict=True) if s >= LEAST_SHARE * seconds.sum()]
    return max(carried, key=BASES.index, default="default")


def memory_of(bench: Bench, layout: Layout, chunk_tokens: int, batch_cap: int) -> MemoryTerms:
    """The memory terms of a layout under its caps."""
    row = [chunk_tokens, batch_cap, layout.tp, layout.pp, layout.ep, layout.dp]
    return MemoryTerms(*bench.memory.rows([row])[0].tolist())


def _layout_values(symbols: SymbolicLayout, layout: Layout) -> dict[sp.Symbol, float]:
    return dict(zip(symbols.symbols(), (layout.tp, layout.pp, layout.ep, layout.dp), strict=True))


def _longer(step: CompiledStep, seconds: float) -> CompiledStep:
    constant = step.constant.copy()
    constant[SECONDS] += seconds
    return replace(step, constant=constant)


def _power_of_two(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()
