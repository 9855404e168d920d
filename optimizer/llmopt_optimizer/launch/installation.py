"""A solved deployment in no engine's words: what each pool serves, on what, within which limits.

Limits that follow from the memory model are derived here once, so that no target can contradict it: the
context length is what the traffic needs and never more than the model or one rank's KV pool holds, and the
KV pool is the one that was simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

from llmopt_calibration.precision import Precision
from llmopt_optimizer.errors import DeploymentError, LaunchError
from llmopt_optimizer.loop.service import pool_memory
from llmopt_optimizer.scenario import Scenario
from llmopt_problems.catalog import model_repository
from llmopt_problems.deployment import (
    Caching,
    Deployment,
    Layout,
    Mode,
    PoolDeployment,
    Role,
    RouterPolicy,
    Routing,
    Scheduling,
    Transfers,
)

MEMORY_STEP = 0.001
"""Shares of memory are given to engines in thousandths."""


@dataclass(frozen=True, slots=True)
class PoolInstallation:
    """What every instance of one pool is started with."""

    role: Role
    accelerator: str
    layout: Layout
    instances: int
    node_gpus: int
    """Accelerators of one machine of this type."""
    chunk_tokens: int
    """Token budget of one rank's step."""
    batch_cap: int
    """Requests in the running batch of one rank."""
    context_tokens: int
    """Longest sequence that is admitted."""
    kv_tokens: int
    """KV pool of one rank; what the simulation had."""
    static_fraction: float
    """Share of the memory for weights and KV pool, without activations and runtime."""
    memory_fraction: float
    """Share of the memory that the engine may use in all."""
    scheduling: Scheduling

    @property
    def nodes(self) -> int:
        """Machines of one instance."""
        return ceil(self.layout.world / self.node_gpus)

    @property
    def gpus_per_node(self) -> int:
        """Accelerators that one instance takes on each of its machines."""
        return self.layout.world // self.nodes


@dataclass(frozen=True, slots=True)
class Installation:
    """A deployment, ready to be said in an engine's flags."""

    name: str
    """For manifests: lower case, digits and dashes."""
    checkpoint: str
    """Hugging Face repository or path of the weights."""
    quantization: Literal["fp8"] | None
    """How the engine narrows the weights while loading; None serves the checkpoint as published."""
    precision: Precision
    mode: Mode
    pools: tuple[PoolInstallation, ...]
    router: RouterPolicy
    prefix_cache: bool
    caching: Caching
    routing: Routing


def installation(scenario: Scenario, deployment: Deployment, checkpoint: str | None = None) -> Installation:
    """The installation of `deployment`; `checkpoint` in place of the model's own repository.

    Raises `DeploymentError` when the deployment cannot hold the traffic's longest request, when no
    checkpoint is known, or when the published one is not in the asked precision and engines cannot make it
    so while loading.
    """
    _check_transfers(deployment)
    return Installation(
        name=_dns_name(scenario.problem.name),
        checkpoint=checkpoint or _repository(scenario),
        quantization=_quantization(scenario, checkpoint),
        precision=scenario.precision,
        mode=deployment.mode,
        pools=tuple(_pool(scenario, pool) for pool in deployment.pools),
        router=deployment.router,
        prefix_cache=deployment.prefix_cache,
        caching=deployment.caching,
        routing=deployment.routing,
    )


def _check_transfers(deployment: Deployment) -> None:
    """LaunchError for pools, places and transfers that no engine's command line asks for."""
    if deployment.mode == "hybrid":
        raise LaunchError("launch files know no hybrid pools: launch the pools of a plain deployment")
    unsaid: dict[str, tuple[str, str]] = {
        "search.kv_transfer.placement": (deployment.transfers.placement, Transfers().placement),
        "search.routing.dp_balance": (deployment.routing.dp_balance, Routing().dp_balance),
    }
    if deployment.routing.decode == "nearest":
        unsaid["search.routing.decode"] = (deployment.routing.decode, Routing().decode)
    for key, (value, usual) in unsaid.items():
        if value != usual:
            raise LaunchError(f"launch files say nothing of {key}, and it is {value}: set it to {usual}")
    if deployment.transfers.mode != Transfers().mode:
        raise LaunchError(
            f"no engine is told by flags to transfer {deployment.transfers.mode}: set "
            f"search.kv_transfer.mode to {Transfers().mode}, or deploy without launch files"
        )


def _pool(scenario: Scenario, pool: PoolDeployment) -> PoolInstallation:
    if pool.layout.ffn:
        raise LaunchError(
            f"the {pool.role} pool has {pool.layout.ffn} accelerators for feed-forward blocks, which no "
            "engine with an inventory can launch: take a deployment without ffn"
        )
    site, memory = scenario.site(pool.accelerator), pool_memory(scenario, pool)
    hbm_bytes = site.accelerator.hbm_bytes
    static = memory.weights + memory.states + memory.kv_bytes_per_token * memory.kv_capacity_tokens
    return PoolInstallation(
        role=pool.role,
        accelerator=pool.accelerator,
        layout=pool.layout,
        instances=pool.instances,
        node_gpus=site.accelerator.gpus_per_node,
        chunk_tokens=pool.chunk_tokens,
        batch_cap=pool.batch_cap,
        context_tokens=_context(scenario, pool, memory.kv_capacity_tokens),
        kv_tokens=memory.kv_capacity_tokens,
        static_fraction=floor(static / hbm_bytes / MEMORY_STEP) * MEMORY_STEP,
        memory_fraction=site.search.memory_fraction,
        scheduling=pool.scheduling,
    )


def _context(scenario: Scenario, pool: PoolDeployment, kv_tokens: int) -> int:
    """What the longest request needs; DeploymentError when the model or the KV pool cannot hold it."""
    traffic = scenario.traffic
    needed = traffic.max_input_tokens + traffic.max_output_tokens
    limit = min(scenario.model.max_context_tokens, kv_tokens)
    if needed > limit:
        raise DeploymentError(
            f"{pool.role} pool: the longest request takes {needed:,} tokens and a rank can hold {limit:,}: "
            "shorten the traffic, raise TP, or lower batch_cap or chunk_tokens"
        )
    return needed


def _repository(scenario: Scenario) -> str:
    found = model_repository(scenario.model.name)
    if found is None:
        raise DeploymentError(
            f"no repository is known for {scenario.model.name}: name its weights with --model"
        )
    return found


def _quantization(scenario: Scenario, checkpoint: str | None) -> Literal["fp8"] | None:
    asked, published = scenario.precision.weights, scenario.model.native_weights
    if checkpoint is not None or asked == published:
        return None
    if asked == "fp8" and published == "bf16":
        return "fp8"
    raise DeploymentError(
        f"{scenario.model.name} is published in {published} and was planned in {asked}, which engines do not "
        f"make of it while loading: name a checkpoint in {asked} with --model"
    )


def _dns_name(text: str) -> str:
    """A name that Kubernetes accepts (RFC 1123 label), made of `text`."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return "-".join(part for part in kept.split("-") if part)[:40].strip("-") or "llmopt"
