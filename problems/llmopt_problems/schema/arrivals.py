"""Arrivals: the processes by which requests may come, one section each, told apart by `process`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from .fields import Count, ExistingFile, RequestsPerSecond, Seconds, Share, unit_keys, with_units
from .lengths import LengthField

TraceFormat = Literal["mooncake", "azure", "burstgpt", "vidur", "sharegpt", "sglang", "vllm", "llmopt"]

MAX_SECONDS = 1e9
"""Longest time that traffic may be described over: thirty years."""

_RATE = 'Mean arrival rate, such as "6 req/s".'
_CV = "Coefficient of variation of the gaps; 1 is Poisson."
_START = 'Where on the curve the traffic begins, such as "9 h"; default: at its start.'

Duration = Annotated[Seconds, Field(ge=0, le=MAX_SECONDS)]
PositiveDuration = Annotated[Seconds, Field(gt=0, le=MAX_SECONDS)]
Rate = Annotated[RequestsPerSecond, Field(gt=0, le=1e9)]
Cv = Annotated[float, Field(ge=0, le=100)]


class PoissonArrivals(BaseModel):
    """Independent requests: exponential gaps."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["poisson"]
    rate_per_s: Rate = Field(alias="rate", description=_RATE)
    _units = model_validator(mode="before")(unit_keys("rate"))


class GammaArrivals(BaseModel):
    """Gamma-distributed gaps: burstier than Poisson with cv above 1, smoother below."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["gamma"]
    rate_per_s: Rate = Field(alias="rate", description=_RATE)
    cv: float = Field(ge=0.001, le=100, description=_CV)
    _units = model_validator(mode="before")(unit_keys("rate"))


class WeibullArrivals(BaseModel):
    """Weibull-distributed gaps: as gamma, with a heavier tail above cv 1."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["weibull"]
    rate_per_s: Rate = Field(alias="rate", description=_RATE)
    cv: float = Field(ge=0.01, le=100, description=_CV)
    _units = model_validator(mode="before")(unit_keys("rate"))


class DeterministicArrivals(BaseModel):
    """Equal gaps."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["deterministic"]
    rate_per_s: Rate = Field(alias="rate", description=_RATE)
    _units = model_validator(mode="before")(unit_keys("rate"))


class OnOffArrivals(BaseModel):
    """Bursts in time: Poisson while on, silent while off; both last exponential times."""

    model_config = with_units(rate=("request_rate",), burst=("time",), silence=("time",))
    process: Literal["on_off"]
    rate_per_s: Rate = Field(
        alias="rate", description='Mean arrival rate, silences included, such as "6 req/s".'
    )
    burst_s: PositiveDuration = Field(alias="burst", description='Mean length of a burst, such as "10 s".')
    silence_s: PositiveDuration = Field(
        alias="silence", description='Mean length of a silence, such as "50 s".'
    )
    _units = model_validator(mode="before")(unit_keys("rate", "burst", "silence"))


class BatchArrivals(BaseModel):
    """Bursts at once: batches come as Poisson, the requests of one at the same moment."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["batch"]
    rate_per_s: Rate = Field(alias="rate", description='Mean rate of requests, such as "6 req/s".')
    size: LengthField = Field(description="Requests of a batch; written as a length, in requests.")
    _units = model_validator(mode="before")(unit_keys("rate"))


class CurvePoint(BaseModel):
    """A point of a day curve."""

    model_config = with_units(at=("time",), rate=("request_rate",))
    at_s: Duration = Field(alias="at", description='Time since the start of the period, such as "9 h".')
    rate_per_s: Annotated[RequestsPerSecond, Field(ge=0, le=1e9)] = Field(
        alias="rate", description='Arrival rate at this time, such as "6 req/s".'
    )
    _units = model_validator(mode="before")(unit_keys("at", "rate"))


class DayCurveArrivals(BaseModel):
    """Independent requests whose rate follows straight lines between points, again every period."""

    model_config = with_units(period=("time",), start=("time",))
    process: Literal["day_curve"]
    period_s: PositiveDuration = Field(
        default=86400.0, alias="period", description='Time after which the curve repeats, such as "24 h".'
    )
    points: tuple[CurvePoint, ...] = Field(
        strict=False, min_length=1, max_length=10**4, description="The curve, in order of time."
    )
    start_s: Duration = Field(default=0.0, alias="start", description=_START)
    _units = model_validator(mode="before")(unit_keys("period", "start"))

    @model_validator(mode="after")
    def _a_curve(self) -> Self:
        for index, (before, after) in enumerate(zip(self.points, self.points[1:], strict=False), 1):
            if after.at_s <= before.at_s:
                what = f"{after.at_s:g} s does not come after the point before"
                raise RuleError(what, "curve-order", "sort the points by time", ("points", index, "at"))
        if self.points[-1].at_s >= self.period_s:
            place = ("points", len(self.points) - 1, "at")
            what = f"the period ends at {self.period_s:g} s"
            raise RuleError(what, "curve-period", "lengthen the period or remove the point", place)
        if not any(point.rate_per_s > 0 for point in self.points):
            raise RuleError("no request ever comes", "curve-empty", "raise a rate", ("points",))
        return self


class SinusoidArrivals(BaseModel):
    """Independent requests whose rate is a sine: rate · (1 + swing · cos(2π · (time - peak) / period))."""

    model_config = with_units(
        rate=("request_rate",), swing=("share",), period=("time",), peak=("time",), start=("time",)
    )
    process: Literal["sinusoid"]
    rate_per_s: Rate = Field(alias="rate", description=_RATE)
    swing: Share = Field(ge=0, le=1, description="How far the rate rises and falls, as a share of its mean.")
    period_s: PositiveDuration = Field(
        default=86400.0, alias="period", description='Time after which the curve repeats, such as "24 h".'
    )
    peak_s: Duration = Field(
        default=0.0, alias="peak", description='Time of the highest rate, such as "14 h".'
    )
    start_s: Duration = Field(default=0.0, alias="start", description=_START)
    _units = model_validator(mode="before")(unit_keys("rate", "swing", "period", "peak", "start"))


class ClosedLoop(BaseModel):
    """A fixed number of users, each sending its next request when its last one ends and it has thought."""

    model_config = with_units(think_time=("time",))
    process: Literal["closed_loop"]
    concurrency: Count = Field(description="Number of users.")
    think_time_s: Duration = Field(
        default=0.0, alias="think_time", description='Mean pause of a user between requests, such as "10 s".'
    )
    think_time_cv: Cv = Field(
        default=1.0,
        description="Coefficient of variation of the pause: 1 exponential, 0 constant, else gamma.",
    )
    _units = model_validator(mode="before")(unit_keys("think_time"))


class TraceArrivals(BaseModel):
    """Requests replayed from a recorded trace: arrivals, lengths and, where it has them, shared blocks."""

    model_config = with_units(rate=("request_rate",))
    process: Literal["trace"]
    file: ExistingFile = Field(description="Path to the trace, relative to this file; .gz is unpacked.")
    format: TraceFormat = Field(
        description="What wrote it: mooncake, azure, burstgpt, vidur, sharegpt, sglang, vllm or llmopt."
    )
    limit: Count | None = Field(default=None, description="Requests to read; default: all.")
    skip: int = Field(default=0, ge=0, description="Requests to leave out at the start.")
    speedup: float = Field(default=1.0, gt=0, le=1e9, description="Divides every gap between arrivals.")
    rate_per_s: Rate | None = Field(
        default=None, alias="rate", description="Poisson arrivals for a trace that records no times."
    )
    concurrency: Count | None = Field(
        default=None, description="Users of a closed loop, for a trace that records no times."
    )
    characters_per_token: float | None = Field(
        default=None,
        ge=0.5,
        le=100,
        description="For text without token counts (sharegpt): tokens are estimated as characters / this.",
    )
    _units = model_validator(mode="before")(unit_keys("rate"))

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.rate_per_s is not None and self.concurrency is not None:
            what = "the requests come either at a rate or from a closed loop"
            raise RuleError(what, "trace-timing", "remove rate or concurrency", ("concurrency",))
        if self.characters_per_token is not None and self.format != "sharegpt":
            raise RuleError(
                f"{self.format} traces count tokens", "trace-estimate", "remove it", ("characters_per_token",)
            )
        return self


OpenArrivals = (
    PoissonArrivals
    | GammaArrivals
    | WeibullArrivals
    | DeterministicArrivals
    | OnOffArrivals
    | BatchArrivals
    | DayCurveArrivals
    | SinusoidArrivals
)
"""Processes in which requests come whether or not earlier ones have ended."""

Arrivals = Annotated[OpenArrivals | ClosedLoop | TraceArrivals, Field(discriminator="process")]
