"""What is asked of the deployment: service levels that must hold, objectives to make as good as possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_serializer, field_validator, model_validator

from ..errors import RuleError
from ..metrics_catalog import METRICS, STATISTICS, MetricName, Statistic, metric_key
from ..units import format_quantity, inner_unit, parse_quantity
from .fields import SECTION, unit_keys, with_units

Bound = Literal["at_most", "at_least"]
Sense = Literal["minimize", "maximize"]

_METRIC_DIMENSIONS = tuple(dict.fromkeys(info.dimension for info in METRICS.values()))
_STATISTIC = "mean, p50, p90, p95 or p99 over requests; latency metrics need one, the others have none."


class ServiceLevel(BaseModel):
    """A bound on one metric. `at_most` and `at_least` are in the inner unit of the metric (seconds, …)."""

    model_config = with_units(at_most=_METRIC_DIMENSIONS, at_least=_METRIC_DIMENSIONS)
    metric: MetricName = Field(description="What is bounded.")
    statistic: Statistic | None = Field(default=None, description=_STATISTIC)
    at_most: float | None = Field(default=None, description='Upper bound with its unit, such as "2 s".')
    at_least: float | None = Field(default=None, description='Lower bound with its unit, such as "5 req/s".')
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
        """Name of the bounded number, such as `ttft_p95_s`."""
        return metric_key(self.metric, self.statistic)

    @field_validator("at_most", "at_least", mode="before", json_schema_input_type=str | float | None)
    @classmethod
    def _quantity(cls, value: object, info: ValidationInfo) -> float | None:
        # Without a valid metric there is no dimension to read the bound in; that error is reported already.
        if value is None or "metric" not in info.data:
            return None
        number = parse_quantity(value, METRICS[info.data["metric"]].dimension)
        if number < 0:
            raise RuleError("no metric is negative", "bound-negative", "give a bound of 0 or more")
        return number

    @field_serializer("at_most", "at_least", when_used="json-unless-none")
    def _as_quantity(self, value: float) -> str | float:
        return format_quantity(value, METRICS[self.metric].dimension)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        check_statistic(self.metric, self.statistic)
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
    minimize: MetricName | None = Field(default=None, description="Metric to make small.")
    maximize: MetricName | None = Field(default=None, description="Metric to make large.")
    statistic: Statistic | None = Field(default=None, description=_STATISTIC)

    @property
    def sense(self) -> Sense:
        """Direction of the objective."""
        return "minimize" if self.minimize is not None else "maximize"

    @property
    def metric(self) -> MetricName:
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
        better = METRICS[self.metric].better
        if better not in ("either", "lower" if self.sense == "minimize" else "higher"):
            other = "maximize" if self.sense == "minimize" else "minimize"
            raise RuleError(
                f"{self.metric} is better {better}",
                "objective-direction",
                f"write {other}: {self.metric}",
                (self.sense,),
            )
        return self


def check_statistic(metric: MetricName, statistic: Statistic | None) -> None:
    """RuleError when a latency metric lacks its statistic or another metric has one."""
    if METRICS[metric].needs_statistic and statistic is None:
        raise RuleError(
            f"{metric} needs a statistic",
            "statistic-missing",
            f"add statistic: one of {', '.join(STATISTICS)}",
        )
    if not METRICS[metric].needs_statistic and statistic is not None:
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
    unit = inner_unit(METRICS[level.metric].dimension)
    return f'at_most: "2 {unit}"' if unit else "at_most: 2"
