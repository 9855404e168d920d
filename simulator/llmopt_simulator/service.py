"""How fast the pools of a deployment serve, and what they can hold: all that a run reads besides requests.

A `ServiceModel` is one `PoolService` a pool, in the deployment's order, and the `KvTransfer` between a
prefill and a decode pool. It knows nothing of models or accelerators: any step law that has been compiled
will do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmopt_calibration.compiled import CompiledStep
from llmopt_problems.deployment import PoolDeployment


@dataclass(frozen=True, slots=True)
class HostTier:
    """The second tier of a rank's prefix cache, in host memory, as the fullest of its accelerators has it."""

    capacity_tokens: int
    bytes_per_token: float
    bytes_per_s: float
    """Of its link, one direction, which ranks of other engines on the same accelerators share."""
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ExpertGroups:
    """Where the choices of experts go in an engine with several expert groups."""

    shares: tuple[float, ...]
    """Of each group, its part of all choices in the long run."""
    choices_per_token: int


@dataclass(frozen=True, slots=True, eq=False)
class PoolService:
    """The step law of a pool's engines and the KV cache of each of its ranks."""

    step: CompiledStep
    kv_capacity_tokens: int
    page_tokens: int = 16
    flops_per_s: float = float("nan")
    """Peaks of one accelerator, for utilisation; NaN where nobody asks."""
    hbm_bytes_per_s: float = float("nan")
    network_bytes_per_s: float = float("nan")
    host: HostTier | None = None
    """Where evicted prefixes go; None: nowhere."""
    draft: CompiledStep | None = None
    """A pass of the draft model or head at its own layout, where the deployment speculates; None: drafts cost
    nothing. A prefill pool has one too if the draft has a KV cache of its own to fill."""
    experts: ExpertGroups | None = None
    """For the frozen parameter `expert_imbalance` to be drawn from; the step law knows its expectation."""


@dataclass(frozen=True, slots=True)
class NearLink:
    """The scale-up link of a node: the way between instances that share one."""

    gpus: int
    """Accelerators that it joins: a node."""
    latency_s: float
    sender_bytes_per_s: float
    """What one prefill instance can send over it in all."""
    receiver_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class RackLink:
    """What the nodes of a rack share on their way to other racks."""

    gpus: int
    """Accelerators of a rack, whole nodes."""
    bytes_per_s: float
    """One direction."""
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class KvTransfer:
    """The way of a prefilled context to its decode instance: latency, then bytes over shared links.

    Two links, the sender's and the receiver's, over the network between nodes; between racks those of both
    racks too; inside a node the two of the scale-up link instead.
    """

    latency_s: float
    bytes_per_token: float
    sender_bytes_per_s: float
    """What one prefill instance can send in all."""
    receiver_bytes_per_s: float
    """What one decode instance can receive in all."""
    layers: int = 1
    """Equal parts of a context that are computed one after the other: the layers of the model."""
    near: NearLink | None = None
    """None: the pools never share a node."""
    rack: RackLink | None = None
    """None: one rack holds everything."""


@dataclass(frozen=True, slots=True, eq=False)
class ServiceModel:
    """The service of every pool of a deployment, in the same order."""

    pools: tuple[PoolService, ...]
    transfer: KvTransfer | None = None


@dataclass(frozen=True, slots=True)
class StepBounds:
    """Largest arguments that a pool's engines give their step law: the sizes of its tables."""

    rank_tokens: int
    engine_tokens: int
    batch: int


def draft_bounds(pool: PoolDeployment) -> StepBounds:
    """The bounds of `compile_step` for the draft of a pool, which sees one token of a sequence at a time."""
    return step_bounds(replace(pool, speculation=None))


def step_bounds(pool: PoolDeployment) -> StepBounds:
    """The bounds of `compile_step` for a pool.

    The law sees the largest decode batch and the largest prefill of any rank. On one rank their sum is
    within the chunk; with attention data parallelism they may be of two ranks. A decode pool has no
    token budget, decodes that never share a step with prefill need none, and a hybrid pool decodes what it
    receives beyond its own: the cap alone bounds these. A
    speculating sequence has its drafts in the step, so decodes alone may exceed the budget.
    """
    shared = pool.role in ("serve", "prefill") and pool.scheduling.mixing == "decode_first"
    verify = 1 + (pool.speculation.draft_tokens if pool.speculation else 0)
    batch = verify * (min(pool.batch_cap, pool.chunk_tokens) if shared else pool.batch_cap)
    prefill = 0 if pool.role == "decode" else pool.chunk_tokens
    rank_tokens = max(prefill, batch) if pool.layout.dp == 1 else prefill + batch
    return StepBounds(rank_tokens, pool.layout.dp * max(prefill, batch), verify * pool.batch_cap)
