"""The simulator's view of a deployment, from the same laws that the expressions are made of.

A `Workbench` holds one step compiler for each accelerator, lowered once from the law under a symbolic layout.
Turning a deployment into a `ServiceModel` only puts numbers in, and pools that differ in their number of
instances or in their caps share what was compiled: tables have room for the largest caps of the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llmopt_calibration.compiled import CompiledStep, StepCompiler, compile_step, step_compiler
from llmopt_calibration.expert_load import group_shares
from llmopt_calibration.memory import MemoryLaw, memory_law
from llmopt_calibration.step import SymbolicLayout, step_law
from llmopt_calibration.step.afd import afd_step_law
from llmopt_calibration.step.symbols import afd_layout
from llmopt_calibration.transfer import TransferLaw, host_load_law
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.formulation.apart import memory_of
from llmopt_optimizer.formulation.build import arithmetic_of
from llmopt_optimizer.formulation.transfers import transfer_law
from llmopt_optimizer.loop.drafts import draft_memory, draft_step, verifying_step
from llmopt_optimizer.scenario import Scenario, Site
from llmopt_problems.deployment import Caching, Deployment, Layout, PoolDeployment
from llmopt_problems.hardware.spec import LinkSpec
from llmopt_problems.models.spec import MoeFfn
from llmopt_problems.speculation import Speculation
from llmopt_simulator.service import (
    ExpertGroups,
    HostTier,
    KvTransfer,
    NearLink,
    PoolService,
    RackLink,
    ServiceModel,
    StepBounds,
    step_bounds,
)


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """Bytes on the fullest accelerator of a pool."""

    weights: float
    activations: float
    reserve: float
    states: float
    """Sequence states of a full batch that do not grow with the context."""
    kv_bytes_per_token: float
    kv_capacity_tokens: int


@dataclass(frozen=True, slots=True)
class Workbench:
    """A scenario with its laws lowered for the simulator, by accelerator name."""

    scenario: Scenario
    layout: SymbolicLayout
    compilers: Mapping[str, StepCompiler]
    families: Mapping[str, Mapping[str, str]]
    """What the coefficients of each operator family in use are worth: measured, transferred or default."""
    steps: dict[tuple[str, Layout, StepBounds], CompiledStep] = field(default_factory=dict)
    """Compiled so far; owned by the workbench, filled as deployments ask."""
    memories: dict[tuple[PoolDeployment, Speculation | None], PoolMemory] = field(default_factory=dict)
    """Computed so far, by pool of one instance and who drafts."""

    def step(self, pool: PoolDeployment) -> CompiledStep:
        """The step of a pool's engines, valid for at least its own caps."""
        if pool.speculation is not None:
            return verifying_step(self.scenario, pool, pool.speculation)
        bounds = _roomy(self.scenario.site(pool.accelerator), pool)
        key = (pool.accelerator, pool.layout, bounds)
        if key not in self.steps and pool.layout.ffn:
            self.steps[key] = _apart_step(self.scenario, pool, bounds)
        if key not in self.steps:
            degrees = (pool.layout.tp, pool.layout.pp, pool.layout.ep, pool.layout.dp)
            numbers = dict(zip(self.layout.symbols(), degrees, strict=True))
            self.steps[key] = self.compilers[pool.accelerator].compile(
                numbers, bounds.rank_tokens, bounds.engine_tokens, bounds.batch
            )
        return self.steps[key]

    def memory(self, pool: PoolDeployment, speculation: Speculation | None = None) -> PoolMemory:
        """The memory terms of a pool; raises `DeploymentError` as `pool_memory` does."""
        key = replace(pool, instances=1), speculation
        if key not in self.memories:
            self.memories[key] = pool_memory(self.scenario, *key)
        return self.memories[key]


def workbench(scenario: Scenario) -> Workbench:
    """Lower every law of a scenario."""
    layout = SymbolicLayout()
    laws = {
        site.accelerator.name: step_law(
            scenario.model,
            site.accelerator,
            scenario.precision,
            layout,
            site.coefficients,
            experts=scenario.experts,
        )
        for site in scenario.sites
    }
    return Workbench(
        scenario,
        layout,
        compilers={name: step_compiler(law, layout.symbols()) for name, law in laws.items()},
        families={name: {op.family: op.basis for op in law.operators} for name, law in laws.items()},
    )


def _apart_step(scenario: Scenario, pool: PoolDeployment, bounds: StepBounds) -> CompiledStep:
    """The step of a pool whose attention and feed-forward blocks are apart; it only decodes.

    Raises `DeploymentError` for another role.
    """
    if pool.role != "decode":
        raise DeploymentError(
            f"{pool.role} pool: instances with accelerators for feed-forward blocks alone (ffn) only decode: "
            "give ffn to the decode pool"
        )
    site = scenario.site(pool.accelerator)
    law = afd_step_law(
        scenario.model,
        site.accelerator,
        scenario.precision,
        afd_layout(pool.layout),
        site.coefficients,
        experts=scenario.experts,
    )
    return compile_step(law, bounds.rank_tokens, bounds.engine_tokens, bounds.batch)


def _memory_law(scenario: Scenario, pool: PoolDeployment) -> MemoryLaw:
    """The memory of the accelerators that hold KV; raises `DeploymentError` where the others overflow."""
    if not pool.layout.ffn:
        copies = scenario.redundant_experts
        return memory_law(scenario.model, scenario.precision, pool.layout, redundant=copies)
    site, law = scenario.site(pool.accelerator), memory_of(scenario, afd_layout(pool.layout))
    caps = {law.attention.symbols.batch_cap: pool.batch_cap}
    if float(law.ffn_bytes.xreplace(caps)) > site.accelerator.hbm_bytes * site.search.memory_fraction:
        raise DeploymentError(
            f"{pool.role} pool: the experts of {scenario.model.name} do not fit {pool.layout.ffn} "
            f"{pool.accelerator}: raise ffn"
        )
    return law.attention


def pool_memory(
    scenario: Scenario, pool: PoolDeployment, speculation: Speculation | None = None
) -> PoolMemory:
    """The memory terms of a pool as numbers, those of the deployment's draft included.

    Raises `DeploymentError` when the weights leave no room for a KV cache.
    """
    site = scenario.site(pool.accelerator)
    law = _memory_law(scenario, pool)
    caps = {law.symbols.chunk_tokens: pool.chunk_tokens, law.symbols.batch_cap: pool.batch_cap}
    room = law.kv_pool_bytes(site.accelerator.hbm_bytes, site.search.memory_fraction).xreplace(caps)
    draft = draft_memory(scenario, pool, speculation)
    states = law.state_bytes_per_sequence * pool.batch_cap + draft.states
    kv_bytes_per_token = law.kv_bytes_per_token + draft.kv_bytes_per_token
    capacity = (room - draft.weights - states) / kv_bytes_per_token
    if capacity < 1:
        raise DeploymentError(
            f"{pool.role} pool: {scenario.model.name} in {scenario.precision.weights} leaves no room for a "
            f"KV cache on {pool.accelerator} with TP {pool.layout.tp} and PP {pool.layout.pp}: raise one of "
            "them, lower chunk_tokens or batch_cap, or use a smaller precision"
        )
    return PoolMemory(
        weights=float(law.weight_bytes + draft.weights),
        activations=float(law.activations.xreplace(caps)),
        reserve=float(law.reserve),
        states=float(states),
        kv_bytes_per_token=float(kv_bytes_per_token),
        kv_capacity_tokens=int(capacity),
    )


def service_model(bench: Workbench, deployment: Deployment) -> ServiceModel:
    """The step laws, KV pools and links of a deployment as the simulator takes them."""
    pools = tuple(_pool_service(bench, pool, deployment) for pool in deployment.pools)
    transfer = _transfer(bench.scenario, deployment) if deployment.mode != "aggregated" else None
    return ServiceModel(pools, transfer)


def _pool_service(bench: Workbench, pool: PoolDeployment, deployment: Deployment) -> PoolService:
    site, speculation = bench.scenario.site(pool.accelerator), deployment.pools[-1].speculation
    return PoolService(
        step=bench.step(pool),
        draft=draft_step(bench.scenario, pool, speculation),
        kv_capacity_tokens=bench.memory(pool, speculation).kv_capacity_tokens,
        page_tokens=deployment.caching.page_tokens,
        host=_host_tier(bench.scenario, pool, deployment.caching),
        flops_per_s=_peak(bench.scenario, site),
        hbm_bytes_per_s=site.accelerator.hbm_bytes_per_s,
        network_bytes_per_s=site.accelerator.scale_up.bytes_per_s,
        experts=_expert_groups(bench.scenario, pool.layout),
    )


def _expert_groups(scenario: Scenario, layout: Layout) -> ExpertGroups | None:
    """Where the choices of tokens go, of the model's first mixture; None where nothing says so."""
    mixture = next((g.ffn for g in scenario.model.layers if isinstance(g.ffn, MoeFfn)), None)
    groups = layout.ffn or layout.ep
    if scenario.experts is None or mixture is None or groups == 1:
        return None
    shares = group_shares(scenario.experts, mixture.experts, groups)
    return ExpertGroups(tuple(shares.tolist()), mixture.experts_per_token)


def _host_tier(scenario: Scenario, pool: PoolDeployment, caching: Caching) -> HostTier | None:
    if caching.host_bytes is None or pool.role == "decode":
        return None
    host = scenario.site(pool.accelerator).accelerator.host
    memory = memory_law(scenario.model, scenario.precision, pool.layout)
    law = host_load_law(memory, pool.layout.pp, host)
    capacity = int(law.capacity_tokens(caching.host_bytes, pool.layout.pp))
    return HostTier(capacity, float(law.bytes_per_token), law.bytes_per_s, law.latency_s)


def _roomy(site: Site, pool: PoolDeployment) -> StepBounds:
    """Bounds that hold for the pool's role under every cap of the search, and for the pool itself."""
    largest = replace(
        pool,
        chunk_tokens=max(pool.chunk_tokens, *site.search.chunk_tokens.values),
        batch_cap=max(pool.batch_cap, *site.search.batch_cap.values),
    )
    return step_bounds(replace(largest, role="serve"))


def _peak(scenario: Scenario, site: Site) -> float:
    return site.accelerator.peak_flops_per_s[arithmetic_of(scenario.precision.weights, site.accelerator)]


def _transfer(scenario: Scenario, deployment: Deployment) -> KvTransfer:
    """Each end at its own link; all copies of the context that the decode layout keeps are moved."""
    prefill, decode = deployment.pool("prefill"), _receiver(deployment)
    sender, receiver = _ends(scenario, deployment)
    tokens, racks = scenario.traffic.mean_input_tokens, scenario.problem.hardware.racks
    return KvTransfer(
        latency_s=max(sender.latency_s, receiver.latency_s),
        bytes_per_token=float(receiver.bytes_moved(tokens)) / tokens,
        sender_bytes_per_s=float(sender.sender_bytes_per_s) * prefill.layout.dp,
        receiver_bytes_per_s=float(receiver.receiver_bytes_per_s) * decode.layout.dp,
        layers=scenario.model.layer_count,
        near=_near(scenario, deployment),
        rack=None if racks is None else RackLink(racks.gpus, racks.bandwidth_bytes_per_s, racks.latency_s),
    )


def _ends(
    scenario: Scenario, deployment: Deployment, link: LinkSpec | None = None
) -> tuple[TransferLaw, TransferLaw]:
    """The transfer law of the sender's and of the receiver's end, over `link` or the way between nodes."""
    prefill, decode = deployment.pool("prefill"), _receiver(deployment)
    sender, receiver = (
        transfer_law(
            scenario, scenario.site(pool.accelerator).accelerator, prefill.layout, decode.layout, link
        )
        for pool in (prefill, decode)
    )
    return sender, receiver


def _receiver(deployment: Deployment) -> PoolDeployment:
    """The pool that contexts are sent to, or one of two that take them alike."""
    last = deployment.pools[-1]
    for pool in deployment.pools[1:]:
        if (pool.layout, pool.accelerator) != (last.layout, last.accelerator):
            raise DeploymentError(
                f"the {pool.role} and the {last.role} pool receive KV and differ in accelerator or layout: "
                "the KV transfer has one receiving end; give both the same"
            )
    return last


def _near(scenario: Scenario, deployment: Deployment) -> NearLink | None:
    """The scale-up link, where both pools are of one accelerator: only then can they share a node."""
    prefill, decode = deployment.pool("prefill"), _receiver(deployment)
    if prefill.accelerator != decode.accelerator:
        return None
    accelerator = scenario.site(prefill.accelerator).accelerator
    sender, receiver = _ends(scenario, deployment, accelerator.scale_up)
    return NearLink(
        accelerator.scale_up_gpus,
        sender.latency_s,
        float(sender.sender_bytes_per_s) * prefill.layout.dp,
        float(receiver.receiver_bytes_per_s) * decode.layout.dp,
    )
