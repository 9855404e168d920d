"""The search section: the finite domain of every decision, and the fixed settings of the engines."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from ..deployment import RouterPolicy, Routing, SearchedMode
from ..errors import RuleError
from .afd import AfdSettings
from .domains import CountDomain, Domain, domain_of
from .experts import ExpertSettings
from .fields import Share, unit_keys, with_units
from .scheduling import SchedulingSettings
from .serving import CacheSettings, RoutingSettings, TransferSettings
from .speculation import SpeculationSettings


class Search(BaseModel):
    """What the optimizer may choose. A domain left out is filled by `with_defaults`."""

    model_config = with_units(memory_fraction=("share",))
    modes: tuple[SearchedMode, ...] = Field(
        default=("aggregated", "disaggregated"), strict=False, description="Serving modes to consider."
    )
    tp: Domain | None = Field(
        default=None,
        description="Tensor-parallel ranks of an instance; default: powers of two within a node.",
    )
    pp: Domain = Field(default=domain_of(1), description="Pipeline stages of an instance.")
    ep: Domain | None = Field(
        default=None, description="Expert-parallel groups; default: those of tp for an MoE model, else 1."
    )
    attention_dp: Domain | None = Field(
        default=None,
        description="Attention data-parallel ranks; default: those of tp for an MoE model, else 1.",
    )
    afd: AfdSettings | None = Field(
        default=None,
        description="Decode instances whose experts have accelerators of their own: no tp, pp and ep.",
    )
    instances: Domain | None = Field(
        default=None, description="Instances of a pool; default: every count that the hardware allows."
    )
    chunk_tokens: Domain = Field(
        default=domain_of(512, 1024, 2048, 4096, 8192),
        description="Token budget of one rank's step, decodes included.",
    )
    batch_cap: Domain = Field(
        default=domain_of(16, 32, 64, 128, 256), description="Requests that one rank may run at a time."
    )
    router: RouterPolicy = Field(default="shortest_queue", description="How requests are spread over ranks.")
    prefix_cache: bool = Field(default=True, description="Whether ranks keep the KV of prefixes for reuse.")
    scheduling: SchedulingSettings = Field(
        default=SchedulingSettings(), description="How engines choose the work of a step."
    )
    routing: RoutingSettings = Field(default=RoutingSettings(), description="How the router chooses.")
    speculation: SpeculationSettings | None = Field(
        default=None, description="Speculative decoding of what is simulated; solve refuses it."
    )
    kv_transfer: TransferSettings = Field(
        default=TransferSettings(), description="How contexts go from prefill to decode instances."
    )
    experts: ExpertSettings | None = Field(
        default=None,
        description="How tokens use experts; default: as unequally as in the tables of the coefficients.",
    )
    cache: CacheSettings = Field(default=CacheSettings(), description="How prefixes are cached.")
    memory_fraction: Share = Field(
        default=0.9, gt=0, le=1, description="Part of accelerator memory that the engine may use."
    )
    _units = model_validator(mode="before")(unit_keys("memory_fraction"))

    def with_defaults(self, moe: bool, node_gpus: int, gpus: int) -> Search:
        """The same search with every domain filled in, for a model, a node size and the accelerators."""
        tp = self.tp or domain_of(*(2**k for k in range(node_gpus.bit_length()) if 2**k <= gpus))
        groups = domain_of(*sorted({1, *tp.values})) if moe else domain_of(1)
        filled: dict[str, CountDomain] = {
            "tp": tp,
            "ep": self.ep or groups,
            "attention_dp": self.attention_dp or groups,
            "instances": self.instances or domain_of(*range(1, gpus // tp.values[0] + 1)),
        }
        return self.model_copy(update=filled)

    @model_validator(mode="after")
    def _modes_sound(self) -> Self:
        if not self.modes:
            raise RuleError(
                "no mode is left", "domain-empty", "list aggregated, disaggregated or both", ("modes",)
            )
        if len(set(self.modes)) < len(self.modes):
            raise RuleError("a mode is listed twice", "domain-duplicate", "list each mode once", ("modes",))
        return self

    @model_validator(mode="after")
    def _afd_decodes(self) -> Self:
        if self.afd is not None and "disaggregated" not in self.modes:
            raise RuleError(
                "experts on accelerators of their own decode, and prefill is elsewhere",
                "afd-disaggregated",
                "add disaggregated to modes, or remove afd",
                ("afd",),
            )
        if self.afd is not None and self.speculation is not None:
            what, remedy = "no law knows drafts in attention–FFN disaggregation", "remove speculation or afd"
            raise RuleError(what, "afd-speculation", remedy, ("afd",))
        return self

    @model_validator(mode="after")
    def _growth_can_retract(self) -> Self:
        if self.scheduling.kv_growth is not None and "disaggregated" in self.modes:
            raise RuleError(
                "a decode pool cannot compute again what it retracts, so its KV cache cannot grow",
                "growth-disaggregated",
                "set modes: [aggregated] or remove kv_growth",
                ("scheduling", "kv_growth"),
            )
        return self

    @model_validator(mode="after")
    def _transfers_happen(self) -> Self:
        if self.kv_transfer != TransferSettings() and "disaggregated" not in self.modes:
            raise RuleError(
                "settings of KV transfers where nothing is transferred",
                "kv-transfer-unused",
                "add disaggregated to modes or remove kv_transfer",
                ("kv_transfer",),
            )
        return self

    @model_validator(mode="after")
    def _router_sees_ranks(self) -> Self:
        if self.router in ("kv_aware", "central_queue") and not self.routing.dp_aware:
            raise RuleError(
                f"a {self.router} router chooses among ranks",
                "router-needs-ranks",
                "set routing.dp_aware: true or another router",
                ("routing", "dp_aware"),
            )
        return self

    @model_validator(mode="after")
    def _ranks_are_balanced_by_instances(self) -> Self:
        if self.routing.dp_aware and self.routing.dp_balance != Routing().dp_balance:
            raise RuleError(
                "the router chooses ranks itself, so no instance balances them",
                "dp-balance-unused",
                "set routing.dp_aware: false or remove dp_balance",
                ("routing", "dp_balance"),
            )
        return self

    @model_validator(mode="after")
    def _settings_have_cache(self) -> Self:
        if self.cache != CacheSettings() and not self.prefix_cache:
            raise RuleError(
                "settings of a prefix cache that is off",
                "cache-settings-need-prefix-cache",
                "set prefix_cache: true or remove cache",
                ("cache",),
            )
        return self

    @model_validator(mode="after")
    def _cache_aware_has_cache(self) -> Self:
        if self.router in ("cache_aware", "kv_aware") and not self.prefix_cache:
            raise RuleError(
                "a cache-aware router needs the prefix cache",
                "cache-aware-needs-prefix-cache",
                "set prefix_cache: true or another router",
                ("router",),
            )
        return self
