"""What speculative decoding adds to a pool: the law of the verifying pass, and the draft's time and memory.

A draft runs in the layout of its pool without pipeline stages (SGLang). It is the model's own prediction head
or a model of the catalog; one that takes no accelerator time adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from llmopt_calibration.compiled import CompiledStep, compile_step
from llmopt_calibration.memory import memory_law
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import step_law
from llmopt_calibration.step.rules import layout_violations
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.scenario import Scenario
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout, PoolDeployment
from llmopt_problems.models.draft import mtp_head
from llmopt_problems.models.spec import ModelSpec
from llmopt_problems.schema.speculation import MTP
from llmopt_problems.speculation import Speculation
from llmopt_simulator.service import draft_bounds, step_bounds

_SHARED: Final = ("embedding", "lm_head")


@dataclass(frozen=True, slots=True)
class DraftMemory:
    """Bytes that a draft takes on an accelerator."""

    weights: float = 0.0
    states: float = 0.0
    kv_bytes_per_token: float = 0.0


def verifying_step(scenario: Scenario, pool: PoolDeployment, speculation: Speculation) -> CompiledStep:
    """The step of a pool whose decodes have their drafts in it."""
    site, bounds = scenario.site(pool.accelerator), step_bounds(pool)
    law = step_law(
        scenario.model,
        site.accelerator,
        scenario.precision,
        pool.layout,
        site.coefficients,
        verify=1 + speculation.draft_tokens,
        experts=scenario.experts,
    )
    return compile_step(law, bounds.rank_tokens, bounds.engine_tokens, bounds.batch)


def draft_step(
    scenario: Scenario, pool: PoolDeployment, speculation: Speculation | None
) -> CompiledStep | None:
    """A pass of the draft beside a pool; None where nothing drafts or drafts take no time.

    Raises `DeploymentError` for a model that the pool's layout cannot run.
    """
    if speculation is None or speculation.draft is None:
        return None
    model, precision = _draft(scenario, speculation.draft)
    layout = _draft_layout(pool, model)
    site, bounds = scenario.site(pool.accelerator), draft_bounds(pool)
    law = step_law(model, site.accelerator, precision, layout, site.coefficients)
    return compile_step(law, bounds.rank_tokens, bounds.engine_tokens, bounds.batch)


def draft_memory(scenario: Scenario, pool: PoolDeployment, speculation: Speculation | None) -> DraftMemory:
    """What the draft holds on each accelerator of a pool: weights, and a cache for every cached token."""
    if speculation is None or speculation.draft is None:
        return DraftMemory()
    model, precision = _draft(scenario, speculation.draft)
    law = memory_law(model, precision, _draft_layout(pool, model))
    shared = _SHARED if speculation.draft == MTP else ()
    weights = sum(float(size) for name, size in law.weights.items() if name not in shared)
    # A pool keeps the batches of its pp stages; the draft's cache is not divided over stages.
    per_token = float(law.kv_bytes_per_token) * pool.layout.pp
    states = float(law.state_bytes_per_sequence) * pool.layout.pp * pool.batch_cap
    return DraftMemory(weights, states, per_token)


def _draft(scenario: Scenario, draft: str) -> tuple[ModelSpec, Precision]:
    if draft == MTP:
        return mtp_head(scenario.model), scenario.precision
    model = catalog.model(draft)
    return model, replace(scenario.precision, weights=model.native_weights)


def _draft_layout(pool: PoolDeployment, model: ModelSpec) -> Layout:
    layout = replace(pool.layout, pp=1)
    broken = layout_violations(model, layout)
    if broken:
        raise DeploymentError(f"the draft {model.name} in the layout of the {pool.role} pool: {broken[0]}")
    return layout
