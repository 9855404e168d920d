"""What is asked of the deployment: service levels that must hold, objectives to make as good as possible."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    BaseModel,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from ..errors import RuleError
from ..metrics_catalog import METRICS, STATISTICS, Better, MetricInfo, MetricName, Statistic, metric_key
from ..units import format_quantity, inner_unit, parse_quantity
from .fields import SECTION, unit_keys, with_units

Bound = Literal["at_most", "at_least"]
Sense = Literal["minimize", "maximize"]
AnyMetric = Annotated[
    str,
    WithJsonSchema({"anyOf": [{"enum": list(get_args(MetricName))}, {"pattern": "^[A-Za-z][A-Za-z0-9_]*$"}]}),
]
"""A metric of the catalog, or one that the problem defines under `metrics`."""

_METRIC_DIMENSIONS = tuple(dict.fromkeys(info.dimension for info in METRICS.values()))
_STATISTIC = "mean, p50, p90, p95 or p99 over requests; latency metrics need one, the others have none."


class ServiceLevel(BaseModel):
    """A bound on one metric. `at_most` and `at_least` are in the inner unit of the metric (seconds, …)."""

    model_config = with_units(at_most=_METRIC_DIMENSIONS, at_least=_METRIC_DIMENSIONS)
    metric: AnyMetric = Field(description="What is bounded.")
    statistic: Statistic | None = Field(default=None, description=_STATISTIC)
    request_class: str | None = Field(
        default=None,
        alias="class",
        min_length=1,
        max_length=100,
        description="Class of requests that it is promised to, by its name in traffic; default: all.",
    )
    at_most: float | None = Field(default=None, description='Upper bound with its unit, such as "2 s".')
    at_least: float | None = Field(default=None, description='Lower bound with its unit, such as "5 req/s".')
    unit: str | None = Field(
        default=None, description="Unit of a metric of your own, filled in from `metrics`; else absent."
    )
    _units = model_validator(mode="before")(unit_keys("at_most", "at_least"))

    @property
    def bound(self) -> Bound:
        """Which of the two bounds this is."""
        return "at_most" if self.at_most is not None else "at_least"

    @property
    def value(self) -> float:
        """The bound, in the inner unit of the metric."""
        return self.at_most if self.at_most is not None else self.at_least  # type: ignore[return-value]

    @property
    def key(self) -> str:
        """Name of the bounded number, such as `ttft_p95_s`, or `chat:ttft_p95_s` for a class."""
        key = metric_key(self.metric, self.statistic)
        return key if self.request_class is None else f"{self.request_class}:{key}"

    @field_validator("at_most", "at_least", mode="before", json_schema_input_type=str | float | None)
    @classmethod
    def _quantity(cls, value: object, info: ValidationInfo) -> float | None:
        # Without a valid metric there is no dimension to read the bound in; that error is reported already.
        if value is None or "metric" not in info.data:
            return None
        if info.data["metric"] not in METRICS:
            return _plain_number(value)
        number = parse_quantity(value, METRICS[info.data["metric"]].dimension)
        if number < 0:
            raise RuleError("no metric is negative", "bound-negative", "give a bound of 0 or more")
        return number

    @field_serializer("at_most", "at_least", when_used="json-unless-none")
    def _as_quantity(self, value: float) -> str | float:
        return format_quantity(value, METRICS[self.metric].dimension) if self.metric in METRICS else value

    @property
    def info(self) -> MetricInfo | None:
        """The catalog's entry; None for a metric of the problem's own."""
        return METRICS.get(self.metric)

    @property
    def is_latency(self) -> bool:
        """Whether the level bounds a statistic over requests."""
        return self.info is not None and self.info.needs_statistic

    @property
    def unit_text(self) -> str:
        """The unit that the bound is kept in; empty for plain numbers."""
        return inner_unit(self.info.dimension) if self.info is not None else self.unit or ""

    @model_validator(mode="before")
    @classmethod
    def _known_metric(cls, data: object) -> object:
        """A name outside the catalog is a metric of the problem's own, which gave it a unit, or a mistake."""
        if isinstance(data, dict) and isinstance(data.get("metric"), str) and data.get("unit") is None:
            require_metric(data["metric"], (), ("metric",))
        return data

    @model_validator(mode="after")
    def _complete(self) -> Self:
        check_statistic(self.metric, self.statistic)
        if self.unit is not None and self.info is not None:
            raise RuleError("the bound carries its own unit", "slo-unit", "remove unit", ("unit",))
        if (self.at_most is None) == (self.at_least is None):
            raise RuleError(
                "a service level has one bound",
                "slo-bound",
                f"write one of at_most and at_least: {_sample(self)}",
            )
        return self


class Objective(BaseModel):
    """A metric to minimize or to maximize."""

    model_config = SECTION
    minimize: AnyMetric | None = Field(default=None, description="Metric to make small.")
    maximize: AnyMetric | None = Field(default=None, description="Metric to make large.")
    statistic: Statistic | None = Field(default=None, description=_STATISTIC)

    @property
    def sense(self) -> Sense:
        """Direction of the objective."""
        return "minimize" if self.minimize is not None else "maximize"

    @property
    def metric(self) -> str:
        """The metric, whichever the direction."""
        return self.minimize if self.minimize is not None else self.maximize  # type: ignore[return-value]

    @property
    def key(self) -> str:
        """Name of the number, such as `tpot_p95_s`."""
        return metric_key(self.metric, self.statistic)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.minimize is None) == (self.maximize is None):
            raise RuleError(
                "an objective has one metric", "objective-form", "write minimize: … or maximize: …"
            )
        check_statistic(self.metric, self.statistic)
        if self.metric in METRICS:
            check_direction(self, METRICS[self.metric].better)
        return self


def check_direction(objective: Objective, better: Better, at: tuple[str | int, ...] = ()) -> None:
    """RuleError, at the objective's place, when it makes a metric worse."""
    if better in ("either", "lower" if objective.sense == "minimize" else "higher"):
        return
    other = "maximize" if objective.sense == "minimize" else "minimize"
    raise RuleError(
        f"{objective.metric} is better {better}",
        "objective-direction",
        f"write {other}: {objective.metric}",
        (*at, objective.sense),
    )


def _plain_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        what, remedy = (
            "this is no number in the metric's unit",
            "give a number, with or without the declared unit",
        )
        raise RuleError(what, "quantity", remedy)
    return float(value)


def require_metric(name: str, own: Collection[str], at: tuple[str | int, ...]) -> None:
    """RuleError, at its place, when neither the catalog nor the problem defines a metric of that name."""
    known = sorted([*METRICS, *own])
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise RuleError("unknown choice", "unknown-choice", f"{hint}(use one of: {', '.join(known)})", at)


def check_class(level: ServiceLevel, classes: Sequence[str], at: tuple[str | int, ...]) -> None:
    """RuleError, at its place, when a level is of a class that is none, or of what no class has."""
    if level.request_class is None:
        return
    if level.request_class not in classes:
        known = ", ".join(classes) or "none: list them in traffic.classes"
        what = f"no class of requests is called {level.request_class}"
        raise RuleError(what, "class-unknown", f"use one of the classes: {known}", (*at, "class"))
    if not level.is_latency:
        what = f"{level.metric} is a number of the whole deployment"
        raise RuleError(what, "class-slo", "remove class, or bound ttft, tpot or e2e", (*at, "metric"))
    if level.metric == "itl":
        raise RuleError("itl is not kept by class", "class-slo", "bound tpot", (*at, "metric"))


def check_statistic(metric: str, statistic: Statistic | None) -> None:
    """RuleError when a latency metric lacks its statistic or another metric has one."""
    latency = metric in METRICS and METRICS[metric].needs_statistic
    if latency and statistic is None:
        raise RuleError(
            f"{metric} needs a statistic",
            "statistic-missing",
            f"add statistic: one of {', '.join(STATISTICS)}",
        )
    if not latency and statistic is not None:
        raise RuleError(
            f"{metric} is one number a deployment",
            "statistic-unused",
            "remove the statistic",
            ("statistic",),
        )


def check_levels(levels: Sequence[ServiceLevel]) -> None:
    """RuleError, at `slo`, when two levels bound the same number alike or against each other."""
    seen: dict[tuple[str, str], float] = {}
    for index, level in enumerate(levels):
        place = ("slo", index)
        if (level.key, level.bound) in seen:
            what = f"{level.key} has this bound already"
            raise RuleError(what, "slo-duplicate", "keep the tighter of the two", place)
        seen[level.key, level.bound] = level.value
        most, least = seen.get((level.key, "at_most"), math.inf), seen.get((level.key, "at_least"), 0.0)
        if most < least:
            what = f"no {level.key} is at most {most:g} and at least {least:g}"
            raise RuleError(
                what, "slo-contradiction", "raise at_most or lower at_least", (*place, level.bound)
            )


def _sample(level: ServiceLevel) -> str:
    unit = level.unit_text
    return f'at_most: "2 {unit}"' if unit else "at_most: 2"
