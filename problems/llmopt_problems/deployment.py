"""A deployment: which pools serve, on what, with which parallel layout and caps.

Every count is an integer decision of the optimizer and a fact for the simulator. An *instance* is one
server process group of `layout.world` accelerators. Pipeline parallelism gives it `pp` *engines* that
hold batches of their own in flight; attention data parallelism gives each engine `dp` *ranks* that
batch separately and step together. Caps are per rank, so they mean the same under every layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from llmopt_problems.speculation import Speculation

Mode = Literal["aggregated", "disaggregated", "hybrid"]
SearchedMode = Literal["aggregated", "disaggregated"]
"""Modes that `solve` has formulas for."""
Role = Literal["serve", "prefill", "hybrid", "decode"]
ROLES: Final[Mapping[Mode, tuple[tuple[Role, ...], ...]]] = {
    "aggregated": (("serve",),),
    "disaggregated": (("prefill", "decode"),),
    "hybrid": (("prefill", "hybrid", "decode"), ("prefill", "hybrid")),
}
"""Pools that each mode may have, in this order."""
Mixing = Literal["decode_first", "prefill_first"]
QueueOrder = Literal["fcfs", "shortest_prompt", "priority"]
Eviction = Literal["lru", "lfu", "fifo"]
RouterPolicy = Literal[
    "random", "round_robin", "shortest_queue", "power_of_two", "cache_aware", "kv_aware", "central_queue"
]
DecodePolicy = Literal["random", "round_robin", "shortest_queue", "power_of_two", "nearest"]
RankPolicy = Literal["round_robin", "shortest_queue", "minimum_tokens"]
TransferMode = Literal["end", "per_layer"]
Placement = Literal["apart", "packed", "paired"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How one instance is split, in the terms of SGLang: TP contains DP and EP.

    Attention runs with `tp / dp` ranks a replica; experts with `ep` groups of `tp / ep` ranks.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    ffn: int = 0
    """Accelerators for feed-forward blocks and experts alone, beside `tp` for attention (attention-FFN
    disaggregation); 0: all do both."""
    micro_batches: int = 1
    """Parts of a step's batch that attention and feed-forward accelerators work on in turn."""

    @property
    def world(self) -> int:
        """Accelerators of one instance."""
        return self.tp * self.pp + self.ffn

    @property
    def attention_tp(self) -> int:
        """Tensor-parallel ranks that share one attention replica."""
        return self.tp // self.dp

    @property
    def moe_tp(self) -> int:
        """Tensor-parallel ranks inside one expert group."""
        return self.tp // self.ep


@dataclass(frozen=True, slots=True)
class KvGrowth:
    """KV pages are allocated as sequences grow; when a decode finds none, the last running request restarts.

    It gives its pages back, goes to the head of the waiting queue, and computes its prompt and the tokens
    that it has already produced again, as one prompt (recomputation).
    """

    conservativeness: float = 0.0
    """Share of the output still to come that admission keeps pages for: of the request and of all running
    ones. 0 asks for the prompt alone (vLLM); SGLang begins at 0.7 times `--schedule-conservativeness`."""
    conservativeness_floor: float | None = None
    """What the share falls to while nothing is retracted; None keeps it. SGLang: 0.14 of the first."""
    decay_steps: int = 600
    """Decode steps in which it falls there. A retraction sets it to what the running requests turned out
    to need, idleness to where it began (SGLang's `new_token_ratio`)."""
    watermark: float = 0.01
    """Share of the pages that admission leaves free (vLLM, Vidur)."""
    spare_page: bool = False
    """Whether every decode asks for a free page even when its last one has room (vLLM 0, Vidur)."""


@dataclass(frozen=True, slots=True)
class Scheduling:
    """How an engine chooses the work of its next step. The defaults are vLLM's, with KV reserved in full."""

    mixing: Mixing = "decode_first"
    """`decode_first`: every decode, then prefill up to the token budget, in one step (vLLM 1, Sarathi, SGLang
    with `--enable-mixed-chunk`). `prefill_first`: a step of prefill alone while there is any, decodes wait
    (SGLang's default)."""
    order: QueueOrder = "fcfs"
    """Of waiting requests; ties in order of arrival. `priority`: by class, see `priorities`."""
    priorities: tuple[int, ...] = ()
    """Of the classes of requests, from 0, smaller ones first; empty: in the order of the classes."""
    queue_limit: int | None = None
    """Waiting requests at a rank (or at the router, with a central queue) that make it reject the next."""
    window_s: float = 0.0
    """How long an idle engine gathers requests before its first step; 0 starts at once (greedy)."""
    window_requests: int | None = None
    """Waiting requests that end the window early."""
    step_overhead_s: float = 0.0
    """CPU time to schedule a step, beside what the step law holds."""
    overlapped: bool = True
    """Whether it runs beside the step before (the longer one counts) or the accelerator waits for it."""
    growth: KvGrowth | None = None
    """None: admission reserves pages for the whole input and output, and nothing is ever retracted."""
    plan_ahead: bool = False
    """Whether a step is planned when the one before begins, with the requests, places and pages of that
    moment (vLLM `--async-scheduling`, SGLang's overlap schedule). A request that comes during a step then
    waits for the one after next."""


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
    scheduling: Scheduling = Scheduling()
    """How its engines choose the work of a step."""
    speculation: Speculation | None = None
    """Of a pool that decodes; None: every step makes one token a sequence."""

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
class Caching:
    """How ranks keep the KV of prefixes. The defaults are those of SGLang and vLLM."""

    eviction: Eviction = "lru"
    """Which block without users goes first, leaves before what they continue: the one that was used longest
    ago, by the fewest requests (then longest ago), or the one that was computed first."""
    page_tokens: int = 16
    """Tokens of one KV page; SGLang's default is 1, vLLM's 16."""
    host_bytes: float | None = None
    """Host memory of each accelerator where evicted prefixes go (SGLang `--hicache-size`); None: nowhere."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How the router chooses. The defaults are those of SGLang's (`sglang_router.launch_router`)."""

    cache_threshold: float = 0.3
    """Share of the input that the router must believe cached for a request to follow its prefix."""
    balance_abs_threshold: float = 64.0
    """Queues are out of balance when longest − shortest exceeds this, and the relative threshold too."""
    balance_rel_threshold: float = 1.5
    """Longest over shortest queue."""
    max_tree_tokens: int = 2**24
    """Tokens that the router remembers of a worker (`--max-tree-size`: 2^26 characters)."""
    eviction_interval_s: float = 120.0
    """How often it forgets what is beyond that, least recently routed first; 0: never."""
    dp_aware: bool = True
    """Whether each rank of attention data parallelism is a worker of its own to the router
    (`--dp-aware`). Else an instance is one, and gives its requests to its ranks by `dp_balance`."""
    decode: DecodePolicy = "shortest_queue"
    """Which of the decode ranks with room for a prefilled request gets it; `nearest`: the shortest queue of
    those on its own node, else in its rack, else anywhere."""
    dp_balance: RankPolicy = "round_robin"
    """Which rank of an instance gets a request that the router gave to the instance: each in turn, the one
    with the fewest requests, or with the fewest tokens (`--load-balance-method`): prompts of those that wait
    or are in prefill, and contexts of those that decode."""


@dataclass(frozen=True, slots=True)
class Transfers:
    """How the KV of a prefilled context goes to its decode instance."""

    mode: TransferMode = "end"
    """`end`: when prefill has ended. `per_layer`: each layer as soon as a prefill step has computed it, if a
    decode rank has room for the request by then; else at the end."""
    overhead_s: float = 0.0
    """CPU time to make a message of it, before its first byte, beside what the transfer law holds."""
    placement: Placement = "apart"
    """Which instances are neighbours. Instances fill nodes one after the other, and none that fits a node is
    spread over two. `apart`: the prefill pool, then the decode pool from a fresh node on. `packed`: without
    that gap. `paired`: instances of both pools take turns, in proportion to their numbers."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is launched: one `serve` pool (aggregated); a `prefill` and a `decode` pool (disaggregated); or
    beside a `prefill` and perhaps a `decode` pool a `hybrid` one, which serves requests of its own and
    decodes those that the prefill pool sends.
    """

    mode: Mode
    pools: tuple[PoolDeployment, ...]
    router: RouterPolicy = "shortest_queue"
    prefix_cache: bool = True
    caching: Caching = Caching()
    """How the prefix cache keeps what it has."""
    routing: Routing = Routing()
    """How the router chooses."""
    transfers: Transfers = Transfers()
    """How contexts go from prefill to decode."""

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
