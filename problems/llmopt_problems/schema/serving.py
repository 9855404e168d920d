"""Settings of the engines that are no decisions: how prefixes are cached, requests routed, contexts sent."""

from __future__ import annotations

from pydantic import BaseModel, Field, model_validator

from ..deployment import (
    Caching,
    DecodePolicy,
    Eviction,
    Placement,
    RankPolicy,
    Routing,
    TransferMode,
    Transfers,
)
from .fields import Bytes, Count, Seconds, Share, unit_keys, with_units

_CACHING, _ROUTING, _TRANSFERS = Caching(), Routing(), Transfers()


class CacheSettings(BaseModel):
    """How ranks keep the KV of prefixes."""

    model_config = with_units(host_memory=("memory",))
    eviction: Eviction = Field(
        default=_CACHING.eviction,
        description="What goes first: the least recently used, the least often used, or the oldest.",
    )
    page_tokens: Count = Field(default=_CACHING.page_tokens, description="Tokens of one KV page.")
    host_memory_bytes: Bytes | None = Field(
        default=None,
        alias="host_memory",
        gt=0,
        description='Host memory of each accelerator for evicted prefixes, such as "64 GB"; default: none.',
    )
    _units = model_validator(mode="before")(unit_keys("host_memory"))

    def caching(self) -> Caching:
        """The same as a part of a deployment."""
        return Caching(self.eviction, self.page_tokens, self.host_memory_bytes)


class RoutingSettings(BaseModel):
    """How the router chooses; defaults are those of SGLang's router."""

    model_config = with_units(cache_threshold=("share",), eviction_interval=("time",))
    cache_threshold: Share = Field(
        default=_ROUTING.cache_threshold,
        ge=0,
        le=1,
        description="Share of an input that must be cached for a cache-aware router to follow its prefix.",
    )
    balance_abs_threshold: float = Field(
        default=_ROUTING.balance_abs_threshold,
        ge=0,
        description="Requests by which the longest queue may exceed the shortest.",
    )
    balance_rel_threshold: float = Field(
        default=_ROUTING.balance_rel_threshold,
        ge=1,
        description="Factor by which it may exceed it; beyond both, the shortest queue gets the request.",
    )
    max_tree_tokens: int = Field(
        default=_ROUTING.max_tree_tokens,
        ge=0,
        description="Tokens that a cache-aware router remembers of a worker.",
    )
    eviction_interval_s: Seconds = Field(
        default=_ROUTING.eviction_interval_s,
        alias="eviction_interval",
        ge=0,
        description='How often it forgets the oldest beyond that, such as "120 s"; "0 s": never.',
    )
    dp_aware: bool = Field(
        default=_ROUTING.dp_aware,
        description="Whether the router chooses the attention data-parallel rank, or only the instance.",
    )
    decode: DecodePolicy = Field(
        default=_ROUTING.decode, description="Which of the decode ranks with room gets a prefilled request."
    )
    dp_balance: RankPolicy = Field(
        default=_ROUTING.dp_balance,
        description="With dp_aware: false, which attention data-parallel rank of an instance gets a request.",
    )
    _units = model_validator(mode="before")(unit_keys("cache_threshold", "eviction_interval"))

    def rules(self) -> Routing:
        """The same as a part of a deployment."""
        return Routing(
            self.cache_threshold,
            self.balance_abs_threshold,
            self.balance_rel_threshold,
            self.max_tree_tokens,
            self.eviction_interval_s,
            self.dp_aware,
            self.decode,
            self.dp_balance,
        )


class TransferSettings(BaseModel):
    """How the KV cache of a prefilled context goes to its decode instance."""

    model_config = with_units(overhead=("time",))
    mode: TransferMode = Field(
        default=_TRANSFERS.mode,
        description="end: when prefill has ended. per_layer: each layer as soon as it has been computed, if "
        "a decode rank has room by then.",
    )
    overhead_s: Seconds = Field(
        default=_TRANSFERS.overhead_s,
        alias="overhead",
        ge=0,
        description='CPU time to make a message of it, beside what the transfer law holds, such as "2 ms".',
    )
    placement: Placement = Field(
        default=_TRANSFERS.placement,
        description="apart: pools on nodes of their own. packed: decode instances follow on the last prefill "
        "node. paired: instances of both pools take turns, so that they share nodes where they fit.",
    )
    _units = model_validator(mode="before")(unit_keys("overhead"))

    def transfers(self) -> Transfers:
        """The same as a part of a deployment."""
        return Transfers(self.mode, self.overhead_s, self.placement)
