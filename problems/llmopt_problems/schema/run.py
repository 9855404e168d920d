"""A run: one deployment under one load for some time, as simulators ask for it.

The short form of a question to the simulator: what a problem spreads over its sections stands here side by
side, and nothing is searched. `llmopt_problems.runs` reads it and spells it out.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from ..deployment import RouterPolicy
from ..errors import RuleError
from ..models.spec import KvPrecision, WeightPrecision
from .fields import Count, ExistingDirectory, RequestsPerSecond, Seconds, Share, Tokens, unit_keys, with_units
from .lengths import LengthField
from .resources import Engine, KvLink
from .traffic import Traffic

_LOADS = ("rate", "concurrency", "traffic")


class RunPool(BaseModel):
    """Equal instances; what is left out is as in the run around it."""

    model_config = with_units()
    accelerator: str | None = Field(default=None, description="Name in the catalog (`llmopt catalog`).")
    tp: Count | None = Field(default=None, description="Tensor-parallel ranks of an instance; default: 1.")
    pp: Count | None = Field(default=None, description="Pipeline stages of an instance; default: 1.")
    ep: Count | None = Field(default=None, description="Expert-parallel groups; default: 1.")
    dp: Count | None = Field(default=None, description="Attention data-parallel ranks; default: 1.")
    instances: Count | None = Field(default=None, description="Instances; default: 1.")
    chunk_tokens: Count | None = Field(
        default=None, description="Token budget of one rank's step; default: 8192."
    )
    batch_cap: Count | None = Field(
        default=None, description="Requests that one rank may run at a time; default: 256."
    )

    def settings(self) -> dict[str, Any]:
        """What was given, by key."""
        return {key: value for key in RunPool.model_fields if (value := getattr(self, key)) is not None}


class RunSpec(RunPool):
    """One deployment under one load; with `prefill` and `decode` a disaggregated one."""

    model_config = with_units(
        rate=("request_rate",),
        duration=("time",),
        warmup=("time",),
        memory_fraction=("share",),
    )
    name: str = Field(default="run", min_length=1, max_length=200, description="Name for reports.")
    model: str = Field(min_length=1, description="Name in the catalog, or path to a config.json.")
    weights: WeightPrecision | None = Field(default=None, description="Default: the published precision.")
    kv_cache: KvPrecision = Field(default="bf16", description="Precision of the KV cache.")
    engine: Engine = Field(default="sglang", description="Engine whose fitted coefficients are used.")
    prefill: RunPool | None = Field(default=None, description="The prefill pool, with decode.")
    decode: RunPool | None = Field(default=None, description="The decode pool, with prefill.")
    transfer: KvLink | None = Field(
        default=None, description="Between both pools; default: the network of the slower end."
    )
    rate_per_s: RequestsPerSecond | None = Field(
        default=None, alias="rate", gt=0, le=1e9, description='Poisson arrivals, such as "6 req/s".'
    )
    concurrency: Count | None = Field(default=None, description="Users of a closed loop, instead of a rate.")
    traffic: Traffic | None = Field(
        default=None, description="The traffic section of a problem, instead of rate and lengths."
    )
    input_tokens: Tokens | LengthField | None = Field(default=None, description="Prompt length or lengths.")
    output_tokens: Tokens | LengthField | None = Field(default=None, description="Answer length or lengths.")
    duration_s: Seconds | None = Field(
        default=None, alias="duration", gt=0, description='How long requests arrive, such as "300 s".'
    )
    requests: Count | None = Field(default=None, description="How many arrive, instead of a duration.")
    warmup_s: Seconds | None = Field(
        default=None,
        alias="warmup",
        ge=0,
        description='Arrivals before this time are not measured, such as "30 s"; default: the first 10%.',
    )
    coefficients: ExistingDirectory | None = Field(
        default=None, description="Folder with coefficient files of `llmopt calibrate`, read first."
    )
    seed: int = Field(default=1, ge=0, lt=2**63, description="Seed of all random streams.")
    router: RouterPolicy = Field(default="shortest_queue", description="How requests are spread over ranks.")
    prefix_cache: bool = Field(default=True, description="Whether ranks keep the KV of prefixes.")
    memory_fraction: Share = Field(
        default=0.9, gt=0, le=1, description="Part of accelerator memory that the engine may use."
    )
    _units = model_validator(mode="before")(unit_keys("rate", "duration", "warmup", "memory_fraction"))

    @property
    def pools(self) -> dict[str, dict[str, Any]]:
        """Settings of each pool by its role."""
        if self.prefill is None or self.decode is None:
            return {"serve": self.settings()}
        both = {"prefill": self.prefill, "decode": self.decode}
        return {role: self.settings() | pool.settings() for role, pool in both.items()}

    @model_validator(mode="after")
    def _both_pools(self) -> Self:
        if (self.prefill is None) != (self.decode is None):
            missing = "prefill" if self.prefill is None else "decode"
            raise RuleError(
                "disaggregated serving has a prefill and a decode pool",
                "run-pools",
                f"add {missing}: {{tp: 1}}, or remove the other",
            )
        if self.transfer is not None and self.prefill is None:
            what = "one pool transfers nothing"
            raise RuleError(what, "run-transfer", "add prefill and decode, or remove transfer", ("transfer",))
        for role, pool in self.pools.items():
            if "accelerator" not in pool:
                remedy = "add accelerator: H100-SXM (`llmopt catalog` lists them)"
                raise RuleError(f"the {role} pool has no accelerator", "run-accelerator", remedy)
        return self

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        given = [name for name in ("rate_per_s", *_LOADS[1:]) if getattr(self, name) is not None]
        if len(given) != 1:
            what = "there is no load" if not given else "there are two loads"
            raise RuleError(what, "run-load", f"give one of {', '.join(_LOADS)}, such as rate: 6 req/s")
        for key in ("input_tokens", "output_tokens"):
            if (getattr(self, key) is None) != (self.traffic is not None):
                rule = "traffic brings its own lengths" if self.traffic is not None else f"{key} is missing"
                remedy = f"remove {key}" if self.traffic is not None else f"add {key}: 500"
                raise RuleError(rule, "run-lengths", remedy)
        return self

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.duration_s is None) == (self.requests is None):
            raise RuleError(
                "a run ends by time or by requests", "run-end", "give duration: 300 s, or requests: 2000"
            )
        if self.concurrency is not None and self.requests is None:
            what = "when the users of a closed loop send is not known beforehand"
            raise RuleError(what, "run-closed-loop", "give requests instead of a duration", ("duration",))
        if self.warmup_s is not None and self.duration_s is not None and self.warmup_s >= self.duration_s:
            raise RuleError(
                "nothing is left to measure", "run-warmup", "make warmup shorter than duration", ("warmup",)
            )
        if self.warmup_s is not None and self.concurrency is not None:
            what = "a closed loop leaves out its first 10% of requests"
            raise RuleError(what, "run-warmup", "remove warmup", ("warmup",))
        return self
