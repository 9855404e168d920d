"""A cluster of replicas that may differ: as much as can be served on it, or the smallest that serves a load.

A *group* is one deployment with a router of its own. Requests come as a Poisson stream and are spread over
the groups at random, in proportion to what each can carry, so every group sees a Poisson stream too.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from .arrivals import PoissonArrivals
from .fields import SECTION, Count, ExistingDirectory, RequestsPerSecond, unit_keys, with_units
from .lengths import LengthField
from .problem import Limits, Problem, Verification
from .resources import AcceleratorOffer, Engine, Hardware, ModelChoice
from .search import Search
from .service import Objective, ServiceLevel, check_levels
from .sharing import SharedPrefix
from .traffic import Traffic, check_prefix

GROUP_GPUS = 64
"""Accelerators of the largest group that is considered, unless the problem says otherwise."""


class Requests(BaseModel):
    """Requests of one kind: their lengths, what they share and, where a load is given, how many come."""

    model_config = with_units(rate=("request_rate",))
    rate_per_s: RequestsPerSecond | None = Field(
        default=None, alias="rate", gt=0, description='Load to serve, such as "60 req/s"; with sizing only.'
    )
    input_tokens: LengthField = Field(description="Prompt lengths.")
    output_tokens: LengthField = Field(description="Answer lengths.")
    shared_prefix: SharedPrefix | None = Field(default=None, description="Prefixes that requests share.")
    _units = model_validator(mode="before")(unit_keys("rate"))

    @model_validator(mode="after")
    def _prefix_fits(self) -> Self:
        check_prefix(self.shared_prefix, self.input_tokens)
        return self

    def traffic(self, rate_per_s: float) -> Traffic:
        """Such requests as a Poisson stream of that rate."""
        return Traffic(
            arrivals=PoissonArrivals(process="poisson", rate=f"{rate_per_s!r} req/s"),
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            shared_prefix=self.shared_prefix,
        )


class ClusterProblem(BaseModel):
    """Which groups, alike or not, serve the most on a cluster (mixed), or a load with the least (sizing)."""

    model_config = SECTION
    kind: Literal["mixed", "sizing"] = Field(
        description="What is asked: mixed, the most requests a second on the accelerators there are; sizing, "
        "the fewest or cheapest accelerators that serve a load."
    )
    name: str = Field(default="problem", min_length=1, max_length=200, description="Name for reports.")
    model: ModelChoice = Field(description="The model to serve.")
    hardware: Hardware = Field(description="The accelerators on offer; a group stands on one type.")
    engine: Engine = Field(default="sglang", description="Serving engine whose fitted coefficients are used.")
    coefficients: ExistingDirectory | None = Field(
        default=None,
        description="Folder with coefficient files of `llmopt calibrate`, read before those bundled.",
    )
    traffic: Requests = Field(description="The requests to serve.")
    slo: tuple[ServiceLevel, ...] = Field(
        strict=False, min_length=1, max_length=64, description="Latencies that every group must keep."
    )
    minimize: Literal["cost", "gpus"] | None = Field(
        default=None, description="What sizing makes small: cost (the default) or gpus."
    )
    group_gpus: Count = Field(default=GROUP_GPUS, description="Accelerators that one group may have at most.")
    search: Search = Field(default=Search(), description="What may be chosen for a group.")
    verification: Verification = Field(default=Verification(), description="How answers are tested.")
    limits: Limits = Field(default=Limits(), description="When to stop.")

    def group_problem(self, offer: AcceleratorOffer, rate_per_s: float) -> Problem:
        """The deployment problem of one group on one accelerator type that serves a rate."""
        count = min(offer.count, self.group_gpus)
        return Problem(
            kind="deployment",
            name=self.name,
            model=self.model,
            hardware=Hardware(accelerators=(offer.model_copy(update={"count": count}),)),
            engine=self.engine,
            coefficients=self.coefficients,
            traffic=self.traffic.traffic(rate_per_s),
            slo=self.slo,
            search=self.search,
            objectives=(Objective(minimize="gpus"),),
            verification=self.verification,
            limits=self.limits,
        )

    @model_validator(mode="after")
    def _levels_bound_latencies(self) -> Self:
        check_group_levels(self.slo)
        return self

    @model_validator(mode="after")
    def _load_where_asked(self) -> Self:
        if self.kind == "sizing" and self.traffic.rate_per_s is None:
            raise RuleError("sizing needs the load", "sizing-load", 'add rate: "60 req/s"', ("traffic",))
        if self.kind == "mixed" and self.traffic.rate_per_s is not None:
            raise RuleError(
                "the rate is the answer of a mixed problem",
                "mixed-load",
                "remove rate, or ask kind: sizing",
                ("traffic", "rate"),
            )
        if self.kind == "mixed" and self.minimize is not None:
            raise RuleError(
                "a mixed problem serves as much as it can",
                "mixed-minimize",
                "remove minimize, or ask kind: sizing",
                ("minimize",),
            )
        return self


def check_group_levels(levels: tuple[ServiceLevel, ...], at: tuple[str | int, ...] = ()) -> None:
    """RuleError, at its place, for a level that is no upper bound on a latency of all requests of a group."""
    for index, level in enumerate(levels):
        place = (*at, "slo", index)
        if level.request_class is not None:
            raise RuleError(
                "these requests have no classes", "class-unknown", "remove class", (*place, "class")
            )
        if not level.is_latency or level.bound != "at_most":
            what = f"{level.metric} says nothing of the requests of one group"
            remedy = "bound ttft, tpot, itl, e2e or queueing from above: at_most"
            raise RuleError(what, "slo-latency", remedy, (*place, "metric"))
    check_levels(levels)
