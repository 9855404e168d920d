"""Metrics of the catalog between two numbers, for every deployment of a block.

`between` gives the interval in which a metric of a verified deployment can lie, as two arrays that broadcast
over the block's pools. A metric that nothing is known of lies between minus and plus infinity, so that no
deployment is ever passed over for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.bounds.demand import Demand
from llmopt_optimizer.bounds.roles import Floats, RoleBounds
from llmopt_optimizer.bounds.space import Block, BoundedSystem, Kind, RoleRows
from llmopt_optimizer.scenario import Scenario
from llmopt_optimizer.symbols import attribute_symbol
from llmopt_problems.metrics_catalog import STATISTICS, metric_key

HISTOGRAM = 0.0026
"""Half a bin of the histogram that gives percentiles of ITL, relative."""

Interval = tuple[Floats, Floats]
_INFINITY = np.asarray(np.inf)
_NOTHING = np.asarray(0.0)


@dataclass(frozen=True, slots=True)
class Offered:
    """What the traffic says about rates, over all replications that bounds are taken from."""

    scenario: Scenario
    demands: tuple[Demand, ...]

    @property
    def arrivals_per_s(self) -> float:
        """Most requests a second that can end in the measured window of an open loop: those that arrive in
        it, and those that came before.
        """
        timed = [d for d in self.demands if d.span_s]
        rates = [(len(d.input_tokens) + d.warmup_requests) / float(d.span_s or 1.0) for d in timed]
        return max(rates) if len(timed) == len(self.demands) else np.inf

    @property
    def rejects(self) -> bool:
        """Whether full queues turn requests away."""
        return any(d.rejects for d in self.demands)

    @property
    def output_tokens(self) -> float:
        """Mean output tokens of a request, the most of any replication.

        Of a closed loop that rejects, the most of any request: the longest may be all that is served.
        """
        if self.rejects and self.scenario.traffic.concurrency is not None:
            return max(float(d.decode_steps.max()) + 1 for d in self.demands)
        return max(float(d.decode_steps.mean()) + 1 for d in self.demands)

    @property
    def edges(self) -> float:
        """What a window may gain from requests that were begun before it, in a closed loop."""
        return max(1 + 2 * (d.concurrency or 0) / len(d.input_tokens) for d in self.demands)


def between(key: str, system: BoundedSystem, block: Block, offered: Offered) -> Interval:
    """Smallest and largest value of the metric `key` in every deployment of the block."""
    joined = Joined(system, block, offered)
    exact = joined.exact()
    if key in exact:
        return exact[key], exact[key]
    if key in (lows := joined.latencies() | joined.drawn()):
        return lows[key], _INFINITY
    if key in (highs := joined.rates()):
        return _NOTHING, highs[key]
    if key.endswith("_utilization"):
        return _NOTHING, np.asarray(1.0)
    return -_INFINITY, _INFINITY


@dataclass(frozen=True, slots=True)
class Joined:
    """The roles of a system side by side."""

    system: BoundedSystem
    block: Block
    offered: Offered

    def exact(self) -> dict[str, Floats]:
        """What the decisions alone decide."""
        usd_per_hour = self._total("usd_per_hour")
        found = {metric_key("gpus"): self._total("gpus"), metric_key("cost_per_hour"): usd_per_hour}
        traffic = self.offered.scenario.traffic
        if traffic.request_rate_per_s is not None and not self.offered.rejects:
            tokens_per_s = traffic.request_rate_per_s * traffic.mean_output_tokens
            found[metric_key("cost_per_million_output_tokens")] = usd_per_hour / 3600 * 1e6 / tokens_per_s
        return found

    def latencies(self) -> dict[str, Floats]:
        """Smallest latencies."""
        found: dict[str, Floats] = {}
        for statistic in STATISTICS:
            prompt_s = self._slowest(lambda b, s=statistic: b.prompt_s[s])  # type: ignore[misc]
            decode_s = self._slowest(lambda b, s=statistic: b.decode_s[s])  # type: ignore[misc]
            first_s = prompt_s if statistic == "mean" else self._slowest(lambda b: b.least_prompt_s)
            found[metric_key("ttft", statistic)] = prompt_s
            found[metric_key("tpot", statistic)] = self._slowest(lambda b, s=statistic: b.step_s[s])  # type: ignore[misc]
            found[metric_key("itl", statistic)] = self._slowest(lambda b: b.token_s) * (1 - HISTOGRAM)
            found[metric_key("e2e", statistic)] = np.maximum(prompt_s, first_s + decode_s)
            found[metric_key("queueing", statistic)] = _NOTHING
        return found

    def rates(self) -> dict[str, Floats]:
        """Largest rates."""
        requests_per_s = self.requests_per_s()
        return {
            metric_key("throughput_requests_per_s"): requests_per_s,
            metric_key("goodput"): requests_per_s,
            metric_key("throughput_tokens_per_s"): requests_per_s * self.offered.output_tokens,
        }

    def drawn(self) -> dict[str, Floats]:
        """Smallest memory, power, and in a closed loop money for a token."""
        power_w = sum((self._column(part, self._idle_w(part)) for part in self._parts()), start=_NOTHING)
        traffic = self.offered.scenario.traffic
        tokens_per_s = self.requests_per_s() * self.offered.output_tokens
        if traffic.request_rate_per_s is not None:
            tokens_per_s = np.asarray(traffic.request_rate_per_s * traffic.mean_output_tokens)
        return {
            metric_key("power"): power_w,
            metric_key("energy_per_output_token"): power_w / tokens_per_s,
            metric_key("peak_memory"): self._largest("peak_memory_bytes"),
            metric_key("memory_fraction"): self._largest("memory_fraction"),
            metric_key("cost_per_million_output_tokens"): self._total("usd_per_hour")
            / 3600
            * 1e6
            / tokens_per_s,
        }

    def requests_per_s(self) -> Floats:
        """Most requests a second: the slowest stage, or users who never wait.

        Where queues reject, a user may have many requests turned away while others are served.
        """
        users = self.offered.scenario.traffic.concurrency
        if users is None:
            return np.asarray(self.offered.arrivals_per_s)
        stage = np.asarray(np.inf)
        for part, bounds in zip(self._parts(), self.system.bounds, strict=True):
            stage = np.minimum(stage, self._column(part, bounds.requests_per_s))
        if self.offered.rejects:
            return np.asarray(stage * self.offered.edges)
        cycle_s = self._slowest(lambda b: b.prompt_s["mean"]) + self._slowest(lambda b: b.decode_s["mean"])
        return np.asarray(np.minimum(stage, users / cycle_s) * self.offered.edges)

    def possible(self) -> NDArray[np.bool_]:
        """Whether stock and engine time suffice, boolean."""
        good = np.ones(self.block.shape, dtype=np.bool_)
        for part, bounds in zip(self._parts(), self.system.bounds, strict=True):
            good &= self._column(part, bounds.keeps_up)
        for site in self.offered.scenario.sites:
            used = [
                self._column(part, counts)
                for part in self._parts()
                for symbol, counts in part.stock.items()
                if symbol == attribute_symbol(part.role, f"gpus_of_{site.accelerator.name}")
            ]
            good &= sum(used, start=_NOTHING) <= site.available
        return good

    def _parts(self) -> Sequence[RoleRows]:
        return self.system.rows.roles

    def _column(self, part: RoleRows, values: NDArray[Kind]) -> NDArray[Kind]:
        return self.block.column(part.axis, values)

    def _idle_w(self, part: RoleRows) -> Floats:
        sites: Mapping[str, float] = {
            site.accelerator.name: site.accelerator.idle_watts for site in self.offered.scenario.sites
        }
        return part.resources["gpus"] * np.array([sites[str(name)] for name in part.layouts.accelerator])

    def _total(self, name: str) -> Floats:
        return sum((self._column(part, part.resources[name]) for part in self._parts()), start=_NOTHING)

    def _largest(self, name: str) -> Floats:
        return self._over([part.resources[name] for part in self._parts()])

    def _slowest(self, of: Callable[[RoleBounds], Floats]) -> Floats:
        """The larger of both roles: what a role does not do takes it no time."""
        return self._over([of(bounds) for bounds in self.system.bounds])

    def _over(self, columns: Sequence[Floats]) -> Floats:
        found = np.asarray(0.0)
        for part, values in zip(self._parts(), columns, strict=True):
            found = np.maximum(found, self._column(part, values))
        return found
