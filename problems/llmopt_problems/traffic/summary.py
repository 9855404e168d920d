"""Traffic in a few numbers, as the metric expressions need them: rates, length moments, and what is shared.

Synthetic traffic is summed up in closed form, a trace by its own requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Fault, ProblemError
from ..schema.traffic import ClosedLoop, GammaArrivals, PoissonArrivals, SharedPrefix, TraceArrivals, Traffic
from .lengths import LengthLaw, length_law
from .replay import read_trace
from .requests import Requests
from .sampling import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class TrafficSummary:
    """First and second moments of a traffic; scv, squared coefficient of variation, is variance / mean²."""

    request_rate_per_s: float | None
    """Mean arrival rate; None in a closed loop."""
    concurrency: int | None
    """Users of a closed loop; None in an open loop."""
    arrival_scv: float | None
    """scv of the gaps between arrivals: 1 for Poisson; None in a closed loop."""
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
    """Input tokens of a request that an infinite cache would hold: an upper bound on prefix hits."""
    block_tokens: int
    requests: int | None
    """Length of a trace; None for synthetic traffic, which has no end."""

    @property
    def mean_decode_context_tokens(self) -> float:
        """Mean context of a decoding sequence, over decode steps: E[out·(in + out/2)] / E[out]."""
        area = self.mean_input_output_product + self.second_moment_output_tokens / 2
        return area / self.mean_output_tokens


def traffic_summary(traffic: Traffic, block_tokens: int = BLOCK_TOKENS) -> TrafficSummary:
    """The summary of `traffic`. A trace keeps its own blocks. ProblemError for a trace without duration."""
    if isinstance(traffic.arrivals, TraceArrivals):
        return _of_trace(read_trace(traffic.arrivals), traffic.arrivals)
    assert traffic.input_tokens is not None, "the schema requires lengths without a trace"
    assert traffic.output_tokens is not None, "the schema requires lengths without a trace"
    inputs, outputs = length_law(traffic.input_tokens), length_law(traffic.output_tokens)
    closed = isinstance(traffic.arrivals, ClosedLoop)
    return TrafficSummary(
        request_rate_per_s=None if isinstance(traffic.arrivals, ClosedLoop) else traffic.arrivals.rate_per_s,
        concurrency=traffic.arrivals.concurrency if isinstance(traffic.arrivals, ClosedLoop) else None,
        arrival_scv=None if closed else _arrival_scv(traffic),
        mean_input_tokens=inputs.moment(1),
        scv_input_tokens=_scv(inputs.moment(1), inputs.moment(2)),
        second_moment_input_tokens=inputs.moment(2),
        max_input_tokens=inputs.longest,
        mean_output_tokens=outputs.moment(1),
        scv_output_tokens=_scv(outputs.moment(1), outputs.moment(2)),
        second_moment_output_tokens=outputs.moment(2),
        max_output_tokens=outputs.longest,
        mean_input_output_product=inputs.moment(1) * outputs.moment(1),
        mean_shared_prefix_tokens=_mean_shared(traffic.shared_prefix, inputs, block_tokens),
        block_tokens=block_tokens,
        requests=None,
    )


def _of_trace(requests: Requests, arrivals: TraceArrivals) -> TrafficSummary:
    inputs, outputs = requests.input_tokens.astype(np.float64), requests.output_tokens.astype(np.float64)
    gaps = np.diff(requests.arrival_s)
    if not gaps.sum() > 0:
        remedy = "read more requests: raise limit or lower skip"
        raise ProblemError(
            Fault("all requests arrive at once", "trace-duration", remedy, file=str(arrivals.file))
        )
    return TrafficSummary(
        request_rate_per_s=float(1 / gaps.mean()),
        concurrency=None,
        arrival_scv=_scv(gaps.mean(), np.square(gaps).mean()),
        mean_input_tokens=float(inputs.mean()),
        scv_input_tokens=_scv(inputs.mean(), np.square(inputs).mean()),
        second_moment_input_tokens=float(np.square(inputs).mean()),
        max_input_tokens=int(inputs.max()),
        mean_output_tokens=float(outputs.mean()),
        scv_output_tokens=_scv(outputs.mean(), np.square(outputs).mean()),
        second_moment_output_tokens=float(np.square(outputs).mean()),
        max_output_tokens=int(outputs.max()),
        mean_input_output_product=float((inputs * outputs).mean()),
        mean_shared_prefix_tokens=float(infinite_cache_hits(requests).mean()),
        block_tokens=requests.block_tokens,
        requests=len(requests),
    )


def infinite_cache_hits(requests: Requests) -> NDArray[np.int64]:
    """Tokens of each request, shape (n,), whose blocks an earlier request already brought."""
    # Ids are chained, so the blocks seen before are always a head of the request.
    seen = np.zeros(int(requests.block_ids.max(initial=-1)) + 1, dtype=bool)
    hits = np.zeros(len(requests), np.int64)
    for index, (start, stop) in enumerate(
        zip(requests.block_offsets, requests.block_offsets[1:], strict=False)
    ):
        ids = requests.block_ids[start:stop]
        hits[index] = seen[ids].sum() * requests.block_tokens
        seen[ids] = True
    return hits


def _arrival_scv(traffic: Traffic) -> float:
    match traffic.arrivals:
        case PoissonArrivals():
            return 1.0
        case GammaArrivals(cv=cv):
            return cv**2
        case _:
            return 0.0


def _mean_shared(prefix: SharedPrefix | None, inputs: LengthLaw, block_tokens: int) -> float:
    """E[floor(min(prefix, input) / block)] · block, as the sum over blocks of the chance to have them."""
    if prefix is None:
        return 0.0
    blocks = range(1, prefix.tokens // block_tokens + 1)
    return prefix.share * block_tokens * sum(inputs.at_least(k * block_tokens) for k in blocks)


def _scv(mean: float, second_moment: float) -> float:
    return max(0.0, float(second_moment / mean**2 - 1))
