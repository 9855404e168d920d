"""Traffic in a few numbers, as the metric expressions need them: rates, length moments, and what is shared.

Synthetic traffic is summed up by its laws: in closed form, or as a sum over an exact discrete law. A trace is
summed up by its own requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import Fault, ProblemError
from ..schema.traffic import ClosedLoop, TraceArrivals, Traffic
from .classes import ClassLaw, classes_of
from .processes import Variability, rate_per_s, variability
from .replay import Replay, replay
from .reuse import infinite_cache_hits, reused_tokens
from .sampling import BLOCK_TOKENS, planned_arrivals
from .turns import TurnMoments

Basis = Literal["described", "recorded", "estimated"]

SCV_DRAWS = 2**16
"""Gaps from which the variability of conversations is estimated, to about 1%; the only estimate here."""


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """Means of one class of requests."""

    name: str
    share: float
    """Share of all requests."""
    mean_input_tokens: float
    mean_output_tokens: float
    max_input_tokens: int
    max_output_tokens: int
    mean_turns: float
    """Turns of a conversation; 1 where requests are single."""


@dataclass(frozen=True, slots=True)
class TrafficSummary:
    """First and second moments of a traffic; scv, squared coefficient of variation, is variance / mean²."""

    request_rate_per_s: float | None
    """Mean arrival rate; None in a closed loop."""
    concurrency: int | None
    """Users of a closed loop; None in an open loop."""
    arrival_scv: float | None
    """scv of the gaps between arrivals: 1 for Poisson; None in a closed loop.

    Of conversations: that of the arrivals if answers took no time, estimated to about 1% from a fixed draw.
    """
    mean_input_tokens: float
    scv_input_tokens: float
    second_moment_input_tokens: float
    max_input_tokens: int
    mean_output_tokens: float
    scv_output_tokens: float
    second_moment_output_tokens: float
    max_output_tokens: int
    mean_input_output_product: float
    """Mean of input x output tokens of a request."""
    mean_shared_prefix_tokens: float
    """Input tokens of a request that an infinite cache would hold: an upper bound on prefix hits.

    Of a later turn: all blocks of the turn before and its answer, as an engine has them that keeps both.
    """
    block_tokens: int
    requests: int | None
    """Length of a trace; None for synthetic traffic, which has no end."""
    arrival_dispersion: float | None
    """Variance / mean of the number of arrivals in a long time: arrival_scv where gaps are independent, more
    where requests come in bursts; None in a closed loop and for a trace."""
    peak_request_rate_per_s: float | None
    """Highest expected rate at any time; None in a closed loop. Of a trace: its mean rate."""
    mean_think_s: float
    """Pause of a closed-loop user between requests; 0 in an open loop."""
    basis: Basis
    """Where lengths come from: a description, a trace's counts, or a trace's text by an estimate."""
    classes: tuple[ClassSummary, ...]
    """The classes of a described traffic, in order; one without a name where it has none."""

    @property
    def mean_decode_context_tokens(self) -> float:
        """Mean context of a decoding sequence, over decode steps: E[out·(in + out/2)] / E[out]."""
        area = self.mean_input_output_product + self.second_moment_output_tokens / 2
        return area / self.mean_output_tokens


def traffic_summary(traffic: Traffic, block_tokens: int = BLOCK_TOKENS) -> TrafficSummary:
    """The summary of `traffic`. A trace keeps its own blocks. ProblemError for a trace without duration."""
    if isinstance(traffic.arrivals, TraceArrivals):
        return _of_trace(replay(traffic.arrivals), traffic.arrivals)
    classes = classes_of(traffic)
    moments = [each.moments(block_tokens) for each in classes]
    shares = [each.share for each in classes]
    products = [m.input_tokens * c.output.moment(1) for m, c in zip(moments, classes, strict=True)]
    reused = [reused_tokens(c, m, block_tokens) for c, m in zip(classes, moments, strict=True)]
    return _summary(
        _arrivals(traffic, classes, moments),
        _Lengths(
            _mean(shares, [m.input_tokens for m in moments]),
            _mean(shares, [m.second_moment_input_tokens for m in moments]),
            max(m.max_input_tokens for m in moments),
        ),
        _Lengths(
            _mean(shares, [each.output.moment(1) for each in classes]),
            _mean(shares, [each.output.moment(2) for each in classes]),
            max(each.output.longest for each in classes),
        ),
        _Together(_mean(shares, products), _mean(shares, reused), block_tokens),
        tuple(_class_summary(c, m) for c, m in zip(classes, moments, strict=True)),
    )


def longest_request(traffic: Traffic) -> int | None:
    """Most tokens, input and output together, that a described request can have; None for a trace."""
    if isinstance(traffic.arrivals, TraceArrivals):
        return None
    return max(each.moments(1).max_input_tokens + each.output.longest for each in classes_of(traffic))


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """How requests come; None for what a closed loop does not have."""

    rate_per_s: float | None = None
    scv: float | None = None
    dispersion: float | None = None
    peak_per_s: float | None = None
    concurrency: int | None = None
    think_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Moments of inputs or of outputs."""

    mean: float
    second: float
    longest: int


@dataclass(frozen=True, slots=True)
class _Together:
    """What links inputs to outputs and requests to each other."""

    product: float
    shared: float
    block_tokens: int
    requests: int | None = None
    basis: Basis = "described"


def _summary(
    arrivals: _Arrivals,
    inputs: _Lengths,
    outputs: _Lengths,
    together: _Together,
    classes: tuple[ClassSummary, ...] = (),
) -> TrafficSummary:
    return TrafficSummary(
        request_rate_per_s=arrivals.rate_per_s,
        concurrency=arrivals.concurrency,
        arrival_scv=arrivals.scv,
        mean_input_tokens=inputs.mean,
        scv_input_tokens=_scv(inputs.mean, inputs.second),
        second_moment_input_tokens=inputs.second,
        max_input_tokens=inputs.longest,
        mean_output_tokens=outputs.mean,
        scv_output_tokens=_scv(outputs.mean, outputs.second),
        second_moment_output_tokens=outputs.second,
        max_output_tokens=outputs.longest,
        mean_input_output_product=together.product,
        mean_shared_prefix_tokens=together.shared,
        block_tokens=together.block_tokens,
        requests=together.requests,
        arrival_dispersion=arrivals.dispersion,
        peak_request_rate_per_s=arrivals.peak_per_s,
        mean_think_s=arrivals.think_s,
        basis=together.basis,
        classes=classes,
    )


def _arrivals(traffic: Traffic, classes: Sequence[ClassLaw], moments: Sequence[TurnMoments]) -> _Arrivals:
    arrivals = traffic.arrivals
    assert not isinstance(arrivals, TraceArrivals), "a trace is summed up by its requests"
    if isinstance(arrivals, ClosedLoop):
        return _Arrivals(concurrency=arrivals.concurrency, think_s=arrivals.think_time_s)
    uneven = _variability(traffic, classes, moments)
    return _Arrivals(rate_per_s(arrivals), uneven.gap_scv, uneven.dispersion, uneven.peak_rate_per_s)


def _of_trace(found: Replay, arrivals: TraceArrivals) -> TrafficSummary:
    workload, requests = found.workload, found.workload.requests
    inputs, outputs = requests.input_tokens.astype(np.float64), requests.output_tokens.astype(np.float64)
    if workload.concurrency is None:
        rate, scv = _trace_rate(found, arrivals)
        come = _Arrivals(rate, scv, peak_per_s=rate)
    else:
        think_s = 0.0 if workload.think_s is None else float(workload.think_s.mean())
        come = _Arrivals(concurrency=workload.concurrency, think_s=think_s)
    together = _Together(
        float((inputs * outputs).mean()),
        float(infinite_cache_hits(requests).mean()),
        requests.block_tokens,
        len(requests),
        "estimated" if found.estimated else "recorded",
    )
    return _summary(come, _observed(inputs), _observed(outputs), together)


def _observed(tokens: NDArray[np.float64]) -> _Lengths:
    return _Lengths(float(tokens.mean()), float(np.square(tokens).mean()), int(tokens.max()))


def _trace_rate(found: Replay, arrivals: TraceArrivals) -> tuple[float, float]:
    """Mean rate and scv of the gaps: as recorded, or of the Poisson process that stands in for times."""
    if arrivals.rate_per_s is not None:
        return arrivals.rate_per_s * arrivals.speedup, 1.0
    gaps = np.diff(found.workload.requests.arrival_s)
    if not gaps.sum() > 0:
        remedy = "read more requests: raise limit or lower skip"
        raise ProblemError(
            Fault("all requests arrive at once", "trace-duration", remedy, file=str(arrivals.file))
        )
    return float(1 / gaps.mean()), _scv(gaps.mean(), np.square(gaps).mean())


def _variability(
    traffic: Traffic, classes: Sequence[ClassLaw], moments: Sequence[TurnMoments]
) -> Variability:
    """That of the requests: of the process itself, or of conversations that start by it."""
    arrivals = traffic.arrivals
    assert not isinstance(arrivals, TraceArrivals | ClosedLoop), "only open arrivals vary by themselves"
    if all(each.conversation is None for each in classes):
        return variability(arrivals)
    # Conversations of every class that start for each request.
    starts = [each.share / m.turns for each, m in zip(classes, moments, strict=True)]
    turns = 1 / math.fsum(starts)
    square = turns * math.fsum(s * m.second_moment_turns for s, m in zip(starts, moments, strict=True))
    process = variability(arrivals, 1 / turns)
    # Var N = E[starts]·Var T + Var[starts]·E[T]², over E N = E[starts]·E[T].
    dispersion = (square - turns**2 + process.dispersion * turns**2) / turns
    gaps = np.diff(planned_arrivals(traffic, SCV_DRAWS, seed=0))
    scv = _scv(gaps.mean(), np.square(gaps).mean())
    return Variability(scv, dispersion, process.peak_rate_per_s * turns)


def _class_summary(each: ClassLaw, moments: TurnMoments) -> ClassSummary:
    return ClassSummary(
        each.name,
        each.share,
        moments.input_tokens,
        each.output.moment(1),
        moments.max_input_tokens,
        each.output.longest,
        moments.turns,
    )


def _mean(shares: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum(share * value for share, value in zip(shares, values, strict=True))


def _scv(mean: float, second_moment: float) -> float:
    return max(0.0, float(second_moment / mean**2 - 1))
