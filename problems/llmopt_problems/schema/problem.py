"""A problem: the sections together, and the rules that span several of them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from ..expressions import Definition, checked_definitions, parse
from .fields import SECTION, Count, ExistingDirectory, Seconds, unit_keys, with_units
from .formula_names import known_names
from .own_metrics import MOST_METRICS, OwnMetric, check_formulas, with_own_units
from .resources import Engine, Hardware, ModelChoice
from .scheduling import check_priorities
from .search import Search
from .service import Objective, ServiceLevel, check_class, check_direction, check_levels, require_metric
from .traffic import Traffic


class Verification(BaseModel):
    """How hard an answer is tested by simulation."""

    model_config = SECTION
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Confidence with which service levels hold."
    )
    law_confidence: float | None = Field(
        default=None,
        gt=0.5,
        le=0.95,
        description="Share of measured steps that are to be no longer than planned ones, by the errors on "
        "models and accelerators that no fit saw; default: steps as the laws have them.",
    )
    requests: Count = Field(default=2000, description="Requests of one replication.")
    replications: int = Field(
        default=5, ge=1, le=1000, description="Independent simulation runs of a deployment."
    )
    max_rounds: int = Field(default=40, ge=1, le=1000, description="Most rounds of solving and simulating.")
    tolerance: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="Relative improvement not worth a simulation: an answer is proven when no other "
        "deployment can be better by more.",
    )
    audit: int = Field(
        default=2000,
        ge=0,
        description="Most deployments simulated to close the gap that the bounds leave open.",
    )
    seed: int = Field(default=1, ge=0, lt=2**63, description="Seed of all random streams.")


class Limits(BaseModel):
    """When to stop and answer with the best found so far."""

    model_config = with_units(time=("time",))
    time_s: Seconds = Field(
        default=600.0, alias="time", gt=0, description='Wall-clock limit of a solve, such as "10 min".'
    )
    _units = model_validator(mode="before")(unit_keys("time"))


class FrontChoice(BaseModel):
    """How much of the Pareto front is reported."""

    model_config = SECTION
    points: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Report only so many points, those that keep the most hypervolume; default: all.",
    )


class Problem(BaseModel):
    """Which deployment of one model serves this traffic best on this hardware within these service levels."""

    model_config = SECTION
    kind: Literal["deployment"] = Field(description="What is asked: deployment.")
    name: str = Field(default="problem", min_length=1, max_length=200, description="Name for reports.")
    model: ModelChoice = Field(description="The model to serve.")
    hardware: Hardware = Field(description="The accelerators on offer.")
    engine: Engine = Field(default="sglang", description="Serving engine whose fitted coefficients are used.")
    coefficients: ExistingDirectory | None = Field(
        default=None,
        description="Folder with coefficient files of `llmopt calibrate`, read before those bundled.",
    )
    traffic: Traffic = Field(description="The requests to serve.")
    slo: tuple[ServiceLevel, ...] = Field(
        default=(), strict=False, max_length=64, description="Service levels; every one must hold."
    )
    metrics: dict[str, OwnMetric] = Field(
        default={}, max_length=MOST_METRICS, description="Metrics of your own: name to formula and unit."
    )
    search: Search = Field(default=Search(), description="What may be chosen.")
    objectives: tuple[Objective, ...] = Field(
        strict=False, min_length=1, max_length=4, description="One to four; several give a Pareto front."
    )
    front: FrontChoice = Field(default=FrontChoice(), description="How much of the front is reported.")
    verification: Verification = Field(default=Verification(), description="How answers are tested.")
    limits: Limits = Field(default=Limits(), description="When to stop.")

    def definitions(self) -> tuple[Definition, ...]:
        """The problem's own metrics, each after those that it reads."""
        formulas = {name: parse(metric.formula) for name, metric in self.metrics.items()}
        return checked_definitions(formulas, known_names(self.hardware, self.search, self.traffic))

    _own_units = model_validator(mode="before")(with_own_units)

    @model_validator(mode="after")
    def _metrics_defined(self) -> Self:
        check_formulas(self.metrics, known_names(self.hardware, self.search, self.traffic))
        for index, level in enumerate(self.slo):
            require_metric(level.metric, self.metrics, ("slo", index, "metric"))
        for index, objective in enumerate(self.objectives):
            require_metric(objective.metric, self.metrics, ("objectives", index, objective.sense))
            if objective.metric in self.metrics:
                check_direction(objective, self.metrics[objective.metric].better, ("objectives", index))
        return self

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        classes = [each.name for each in self.traffic.classes]
        for index, level in enumerate(self.slo):
            check_class(level, classes, ("slo", index))
        check_levels(self.slo)
        return self

    @model_validator(mode="after")
    def _priorities_name_classes(self) -> Self:
        check_priorities(self.search.scheduling, [each.name for each in self.traffic.classes])
        return self

    @model_validator(mode="after")
    def _objectives_distinct(self) -> Self:
        keys = [objective.key for objective in self.objectives]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise RuleError(
                    f"{key} is an objective already",
                    "objective-duplicate",
                    "remove one",
                    ("objectives", index),
                )
        return self

    @model_validator(mode="after")
    def _goodput_has_levels(self) -> Self:
        if any(level.is_latency for level in self.slo):
            return self
        for index, objective in enumerate(self.objectives):
            if objective.metric == "goodput":
                raise RuleError(
                    "goodput counts requests that meet the latency service levels, and there are none",
                    "goodput-needs-slo",
                    "add a service level on ttft, tpot, itl or e2e",
                    ("objectives", index),
                )
        return self
