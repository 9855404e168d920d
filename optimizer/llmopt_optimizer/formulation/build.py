"""From a scenario to a program: the laws under symbolic decisions, one system a serving mode.

The program is built once. What the loop changes between rounds are numbers of frozen symbols, exclusions and
limits; nothing symbolic is made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sympy import Expr, Integer

from llmopt_calibration.memory import MemorySymbols, memory_law
from llmopt_calibration.step import StepLaw, SymbolicLayout, step_law
from llmopt_calibration.step.rules import layout_rules
from llmopt_optimizer.core.algebra import symbols_of
from llmopt_optimizer.core.program import Constraint, Objective, Pool, Program, System, Variant
from llmopt_optimizer.formulation.apart import afd_constraints, afd_law, afd_memory
from llmopt_optimizer.formulation.class_metrics import with_class_metrics
from llmopt_optimizer.formulation.deployments import PREFILL_BATCH_CAP
from llmopt_optimizer.formulation.domains import decisions_of
from llmopt_optimizer.formulation.levels import limit_of
from llmopt_optimizer.formulation.own_metrics import with_own_metrics
from llmopt_optimizer.formulation.pool import TYPICAL_TOKENS, MemoryInputs, PoolInputs, Surroundings
from llmopt_optimizer.formulation.systems import Offer, aggregated_system, disaggregated_system
from llmopt_optimizer.formulation.transfers import transfer_between
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.metrics.resources import gpus
from llmopt_optimizer.scenario import Scenario, Site
from llmopt_optimizer.symbols import PoolSymbols, frozen_symbols, pool_symbols
from llmopt_problems import Problem
from llmopt_problems.deployment import Mode, Role
from llmopt_problems.errors import Fault, ProblemError
from llmopt_problems.hardware.spec import AcceleratorSpec
from llmopt_problems.models.spec import WeightPrecision


def build_program(scenario: Scenario, frozen: Frozen) -> Program:
    """The program of a scenario with the numbers of `frozen`; the loop replaces the numbers, nothing else."""
    problem = scenario.problem
    _refuse_speculation(problem)
    return Program(
        systems=tuple(
            with_class_metrics(
                with_own_metrics(_system(scenario, mode), problem, frozen_symbols()), problem, mode
            )
            for mode in problem.search.modes
        ),
        objectives=tuple(Objective(objective.key, objective.sense) for objective in problem.objectives),
        limits=tuple(limit_of(level) for level in problem.slo),
        parameters=frozen.parameters(),
    )


def _refuse_speculation(problem: Problem) -> None:
    """ProblemError where decodes speculate: no formula here says how fast and how large that makes a pool."""
    asked = problem.search.speculation
    if asked is not None and asked.draft_tokens > 0:
        what = "speculative decoding can be simulated but not optimized: no formula knows it"
        remedy = "use llmopt simulate with a deployment, or remove search.speculation"
        raise ProblemError(Fault(what, "speculation-solve", remedy))


def needed_only(program: Program) -> Program:
    """The same program without the metrics and attributes that no objective, limit or constraint reads."""
    keys = {objective.metric for objective in program.objectives} | {limit.metric for limit in program.limits}
    return replace(program, systems=tuple(_restricted(system, keys) for system in program.systems))


def _restricted(system: System, keys: Iterable[str]) -> System:
    metrics = {key: system.metrics[key] for key in sorted(keys)}
    expressions = [*metrics.values(), *(constraint.expression for constraint in system.constraints)]
    read = symbols_of(*expressions)

    def kept(variant: Variant) -> Variant:
        attributes = {symbol: value for symbol, value in variant.attributes.items() if symbol in read}
        return replace(variant, attributes=attributes)

    pools = tuple(Pool(pool.name, tuple(kept(variant) for variant in pool.variants)) for pool in system.pools)
    return replace(system, metrics=metrics, pools=pools)


def _system(scenario: Scenario, mode: Mode) -> System:
    around = surroundings(scenario)
    if mode == "aggregated":
        return aggregated_system(_offers(scenario, "serve"), around)
    return disaggregated_system(
        _offers(scenario, "prefill"),
        _offers(scenario, "decode"),
        around,
        lambda sender, receiver: transfer_between(scenario, around.frozen, sender, receiver),
    )


def surroundings(scenario: Scenario) -> Surroundings:
    """What all pools of a scenario share."""
    return Surroundings(
        frozen=frozen_symbols(),
        router=scenario.problem.search.router,
        closed_loop=scenario.traffic.concurrency is not None,
        equal_inputs=scenario.traffic.scv_input_tokens == 0,
        plan_ahead=scenario.problem.search.scheduling.plan_ahead,
    )


def _offers(scenario: Scenario, role: Role) -> tuple[Offer, ...]:
    symbols = pool_symbols(role, afd=role == "decode" and scenario.problem.search.afd is not None)
    return tuple(_offer(scenario, site, role, symbols) for site in scenario.sites)


def _offer(scenario: Scenario, site: Site, role: Role, symbols: PoolSymbols) -> Offer:
    weights = scenario.precision.weights
    law, memory, rules = _laws(scenario, site, role, symbols)
    stock = Constraint("stock", gpus(symbols) - site.available)
    return Offer(
        inputs=PoolInputs(
            role=role,
            symbols=symbols,
            law=law,
            memory=memory,
            accelerator=site.accelerator,
            arithmetic=arithmetic_of(weights, site.accelerator),
            usd_per_gpu_hour=site.usd_per_gpu_hour,
            largest_request_tokens=scenario.traffic.max_input_tokens + scenario.traffic.max_output_tokens,
        ),
        decisions=decisions_of(role, symbols, site.search, site.available),
        rules=(stock, *rules),
        available=site.available,
    )


def _laws(
    scenario: Scenario, site: Site, role: Role, symbols: PoolSymbols
) -> tuple[StepLaw, MemoryInputs, tuple[Constraint, ...]]:
    """Step law, memory and rules of a pool: of whole instances, or of attention and experts apart."""
    if symbols.ffn != 0:
        return (
            afd_law(scenario, site, symbols),
            afd_memory(scenario, site, symbols),
            afd_constraints(scenario, site, symbols),
        )
    layout, weights = layout_of(symbols), scenario.precision.weights
    rules = layout_rules(scenario.model, layout, weights, scenario.redundant_experts)
    # Residuals are for the simulation: in formulas they would cost minutes and buy what it measures anyway.
    fitted = site.coefficients.laws_alone()
    law = step_law(
        scenario.model,
        site.accelerator,
        scenario.precision,
        layout,
        fitted,
        experts=scenario.experts,
        expert_tokens=TYPICAL_TOKENS,
    )
    constraints = tuple(Constraint(rule.message, rule.excess) for rule in rules)
    return law, _memory(scenario, site, role, symbols), constraints


def layout_of(symbols: PoolSymbols) -> SymbolicLayout:
    """The layout whose entries are the pool's decisions."""
    return SymbolicLayout(symbols.tp, symbols.pp, symbols.ep, symbols.dp)


def arithmetic_of(weights: WeightPrecision, accelerator: AcceleratorSpec) -> str:
    """Arithmetic of the weights' GEMMs on an accelerator, a key of its peaks."""
    wanted = {"bf16": "bf16", "fp8": "fp8", "fp8_block": "fp8", "fp4": "fp4", "int4": "bf16"}[weights]
    return wanted if wanted in accelerator.peak_flops_per_s else "bf16"


def _memory(scenario: Scenario, site: Site, role: Role, symbols: PoolSymbols) -> MemoryInputs:
    """A prefill rank steps over its chunk, a decode rank over its batch, an aggregated rank over both."""
    caps = MemorySymbols()
    copies = scenario.redundant_experts
    law = memory_law(scenario.model, scenario.precision, layout_of(symbols), caps, copies)
    largest_step: Expr = symbols.batch_cap if role == "decode" else symbols.chunk_tokens
    largest_batch: Expr = Integer(PREFILL_BATCH_CAP) if role == "prefill" else symbols.batch_cap
    filling = {caps.chunk_tokens: largest_step, caps.batch_cap: largest_batch}
    fraction = site.search.memory_fraction
    fixed = law.used_bytes(0, caps.batch_cap)
    return MemoryInputs(
        fixed_bytes=fixed.xreplace(filling),
        kv_bytes_per_token=law.kv_bytes_per_token,
        kv_capacity_tokens=law.kv_capacity_tokens(site.accelerator.hbm_bytes, fraction).xreplace(filling),
    )
