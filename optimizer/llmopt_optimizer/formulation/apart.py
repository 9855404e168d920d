"""The decode pool of attention–FFN disaggregation: its law, memory and rules under symbolic decisions."""

from __future__ import annotations

from llmopt_calibration.afd_memory import AfdMemory, afd_memory_law
from llmopt_calibration.memory import MemorySymbols
from llmopt_calibration.step import StepLaw, StepSymbols
from llmopt_calibration.step.afd import afd_step_law
from llmopt_calibration.step.rules import afd_rules
from llmopt_calibration.step.symbols import AfdLayout
from llmopt_optimizer.core.program import Constraint
from llmopt_optimizer.formulation.disaggregated import decode_batch_symbol
from llmopt_optimizer.formulation.pool import TYPICAL_TOKENS, MemoryInputs
from llmopt_optimizer.scenario import Scenario, Site
from llmopt_optimizer.symbols import PoolSymbols, frozen_symbols


def afd_law(scenario: Scenario, site: Site, symbols: PoolSymbols) -> StepLaw:
    """The law of a decode step; its state is written in the decode batch and the mean context at once.

    So nothing is put in later, which would rebuild a maximum of sums of many operators.
    """
    batch, context = decode_batch_symbol(), frozen_symbols().decode_context_tokens
    state = StepSymbols(b=batch, K=batch * context, h=batch)
    return afd_step_law(
        scenario.model,
        site.accelerator,
        scenario.precision,
        _layout(symbols),
        site.coefficients.laws_alone(),
        experts=scenario.experts,
        expert_tokens=TYPICAL_TOKENS,
        symbols=state,
    )


def afd_memory(scenario: Scenario, site: Site, symbols: PoolSymbols) -> MemoryInputs:
    """The memory of attention accelerators, which hold the KV cache, and of the others."""
    caps, copies = MemorySymbols(), scenario.redundant_experts
    law = afd_memory_law(scenario.model, scenario.precision, _layout(symbols), caps, copies)
    filling = {caps.chunk_tokens: symbols.batch_cap, caps.batch_cap: symbols.batch_cap}
    attention, fraction = law.attention, site.search.memory_fraction
    return MemoryInputs(
        fixed_bytes=attention.used_bytes(0, caps.batch_cap).xreplace(filling),
        kv_bytes_per_token=attention.kv_bytes_per_token,
        kv_capacity_tokens=attention.kv_capacity_tokens(site.accelerator.hbm_bytes, fraction).xreplace(
            filling
        ),
        apart_bytes=law.ffn_bytes.xreplace(filling),
    )


def afd_constraints(scenario: Scenario, site: Site, symbols: PoolSymbols) -> tuple[Constraint, ...]:
    """Layouts that both kinds of accelerators can have, and weights that fit those of the experts."""
    layout, memory = _layout(symbols), afd_memory(scenario, site, symbols)
    rules = afd_rules(scenario.model, layout, scenario.redundant_experts)
    room = site.accelerator.hbm_bytes * site.search.memory_fraction
    filled = Constraint(
        "memory of experts", (memory.apart_bytes - room) / room, label="memory of a feed-forward accelerator"
    )
    parts = Constraint("more micro-batches than sequences", layout.micro_batches - symbols.batch_cap)
    return (filled, parts, *(Constraint(rule.message, rule.excess) for rule in rules))


def _layout(symbols: PoolSymbols) -> AfdLayout:
    return AfdLayout(symbols.tp, symbols.dp, symbols.ffn, symbols.micro_batches)


def memory_of(scenario: Scenario, layout: AfdLayout) -> AfdMemory:
    """The memory of a layout of numbers."""
    return afd_memory_law(scenario.model, scenario.precision, layout, redundant=scenario.redundant_experts)
