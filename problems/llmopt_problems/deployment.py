"""A deployment: which pools serve, on what, with which parallel layout and caps.

Every count is an integer decision of the optimizer and a fact for the simulator. An *instance* is one
server process group of `layout.world` accelerators. Pipeline parallelism gives it `pp` *engines* that
hold batches of their own in flight; attention data parallelism gives each engine `dp` *ranks* that
batch separately and step together. Caps are per rank, so they mean the same under every layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["aggregated", "disaggregated"]
Role = Literal["serve", "prefill", "decode"]
RouterPolicy = Literal["round_robin", "shortest_queue", "cache_aware", "power_of_two", "central_queue"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How one instance is split, in the terms of SGLang: TP contains DP and EP.

    Attention runs with `tp / dp` ranks a replica; experts with `ep` groups of `tp / ep` ranks.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1

    @property
    def world(self) -> int:
        """Accelerators of one instance."""
        return self.tp * self.pp

    @property
    def attention_tp(self) -> int:
        """Tensor-parallel ranks that share one attention replica."""
        return self.tp // self.dp

    @property
    def moe_tp(self) -> int:
        """Tensor-parallel ranks inside one expert group."""
        return self.tp // self.ep


@dataclass(frozen=True, slots=True)
class PoolDeployment:
    """Equal instances that play one role."""

    role: Role
    accelerator: str
    layout: Layout
    instances: int
    chunk_tokens: int
    """Token budget of one rank's step, decodes included (vLLM `max_num_batched_tokens` a rank)."""
    batch_cap: int
    """Requests that one rank may hold in its running batch."""

    @property
    def gpus(self) -> int:
        """Accelerators of the pool."""
        return self.instances * self.layout.world

    @property
    def engines(self) -> int:
        """Batches in flight: `pp` an instance."""
        return self.instances * self.layout.pp

    @property
    def ranks(self) -> int:
        """Attention ranks with a batch and a KV cache of their own."""
        return self.engines * self.layout.dp


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is launched: one `serve` pool (aggregated) or a `prefill` and a `decode` pool."""

    mode: Mode
    pools: tuple[PoolDeployment, ...]
    router: RouterPolicy = "shortest_queue"
    prefix_cache: bool = True

    @property
    def gpus(self) -> int:
        """Accelerators of all pools."""
        return sum(pool.gpus for pool in self.pools)

    def pool(self, role: Role) -> PoolDeployment:
        """The pool that plays `role`; `KeyError` when the deployment has none."""
        for pool in self.pools:
            if pool.role == role:
                return pool
        raise KeyError(role)
