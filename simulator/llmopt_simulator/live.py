"""A run whose requests are not known beforehand: they come while it goes, as on a server.

`LiveRun` lays out an empty run with room for so many requests, then moves the same kernel along a clock that
its owner reads: `submit` lets a request arrive now, `advance` lets happen what happens until now and tells
which tokens came. Everything an ordinary run does (routing, chunked prefill, admission by pages, transfer) it
does too. Fed with a workload's arrivals it is that workload's run, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.errors import SimulationError
from llmopt_simulator.kernel import state as k
from llmopt_simulator.kernel.loop import Prepared, prepare, run_events
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.service import ServiceModel
from llmopt_simulator.setup import lay_out

LOG_STEPS: Final = 4096
"""Most steps between two calls; tokens of any beyond are told when their answers end."""


class Came(NamedTuple):
    """Tokens of one request that came since the last call."""

    request: int
    tokens: int
    last: bool
    """Whether the answer has ended with them."""


@dataclass(frozen=True, slots=True)
class Told:
    """What happened since the last call."""

    came: Sequence[Came]
    rejected: Sequence[int]
    """Requests that can never fit, or that a full queue turned away."""


@dataclass(slots=True)
class LiveRun:
    """An empty run of a deployment that fills while its owner's clock goes."""

    state: k.State
    prepared: Prepared
    now_s: float = 0.0
    submitted: int = 0
    waiting: set[int] = field(default_factory=set)
    """Submitted, without a token yet."""
    answering: set[int] = field(default_factory=set)
    """With a token, and not ended."""
    joining: set[int] = field(default_factory=set)
    """Of them, those whose engine has begun no step since."""
    made: NDArray[np.int64] = field(init=False)
    """Tokens told of each request, shape (n,)."""
    engine: NDArray[np.int64] = field(init=False)
    """Of each request that decodes, shape (n,)."""
    before: NDArray[np.int64] = field(init=False)
    """Decode steps of that engine before the request joined, shape (n,)."""
    steps: NDArray[np.int64] = field(init=False)
    """Decode steps of every engine so far."""

    def __post_init__(self) -> None:
        slots = len(self.state.requests)
        self.made, self.engine, self.before = (np.zeros(slots, np.int64) for _ in range(3))
        self.steps = np.zeros(len(self.state.engines), np.int64)

    @property
    def room(self) -> int:
        """Requests that may still be submitted."""
        return len(self.state.requests) - 2 - self.submitted

    @property
    def under_way(self) -> int:
        """Requests submitted and not ended."""
        return len(self.waiting) + len(self.answering)

    def submit(self, input_tokens: int, output_tokens: int) -> int:
        """Let a request arrive at the time of the last `advance`; its number.

        Raises `SimulationError` when the run has no room for another request.
        """
        if self.room < 1:
            raise SimulationError("the run is full: start another one")
        number = self.submitted
        record = self.state.requests[number : number + 1]
        record["input_tokens"] = record["prompt_tokens"] = input_tokens
        record["output_tokens"] = output_tokens
        self.submitted += 1
        self.waiting.add(number)
        self._arrive_until(self.submitted)
        return number

    def advance(self, now_s: float) -> Told:
        """Let happen what happens until `now_s` (seconds of the run, never less than before)."""
        self.now_s = max(now_s, self.now_s)
        self._arrive_until(self.submitted)
        if self.state.world["fault"][0] != k.FAULT_NONE:
            raise SimulationError("the step law gives no duration that moves the clock")
        return self._told()

    def _arrive_until(self, number: int) -> None:
        """Go on to now: requests before `number` arrive, the next one is about to."""
        requests, sources = self.state.requests, self.state.sources
        requests["arrival_s"][number : number + 2] = self.now_s
        called = int(self.state.world["called"][0])
        sources["time_s"][-1] = requests["arrival_s"][called]
        order = np.lexsort((np.arange(len(sources)), sources["time_s"]))  # a sorted list is a heap
        sources["at_place"], sources["place"][order] = order, np.arange(len(sources))
        run_events(self.prepared, number)

    def _told(self) -> Told:
        steps = self._logged()
        rejected = self._first_tokens(steps)
        self.steps += np.bincount(steps["engine"], minlength=len(self.steps))
        return Told(self._came(), rejected)

    def _logged(self) -> k.Records:
        """The decode steps since the last call; the log is emptied."""
        log, logged = self.state.log, int(self.state.world["logged"][0])
        steps = log[:logged][log["decodes"][:logged] > 0].copy()
        log[:logged] = np.zeros(1, log.dtype)
        self.state.world["logged"] = 0
        return steps

    def _first_tokens(self, steps: k.Records) -> list[int]:
        """Note who got a first token and which steps its next ones come from; those that were rejected."""
        waiting = np.fromiter(self.waiting, np.int64, len(self.waiting))
        records = self.state.requests[waiting]
        rejected: list[int] = waiting[records["status"] == k.REJECTED].tolist()
        started = waiting[records["first_token_s"] <= self.now_s]  # NaN: none yet
        for request in started.tolist():
            self.engine[request] = self._engine(request)
            self.before[request] = self.steps[self.engine[request]]
        self.waiting.difference_update(rejected, started.tolist())
        self.answering.update(started.tolist())
        self.joining.update(started.tolist())
        self._join(steps)
        return rejected

    def _join(self, steps: k.Records) -> None:
        """Leave out the steps that began before a request had its first token: it is not in them.

        The step that is in progress then ends, and is told, later; so a request joins until a step has begun.
        """
        for request in [*self.joining]:
            own = steps["start_s"][steps["engine"] == self.engine[request]]
            earlier = int(np.sum(own < self.state.requests["first_token_s"][request]))
            self.before[request] += earlier
            if earlier < len(own):
                self.joining.discard(request)

    def _came(self) -> list[Came]:
        """A token for every step since the first; the last one is told when the answer has ended."""
        active = np.fromiter(self.answering, np.int64, len(self.answering))
        records = self.state.requests[active]
        ended, outputs = records["status"] == k.FINISHED, records["output_tokens"]
        made = np.minimum(outputs - 1, 1 + self.steps[self.engine[active]] - self.before[active])
        made = np.where(ended, outputs, np.maximum(made, self.made[active]))
        new = made - self.made[active]
        self.made[active] = made
        self.answering.difference_update(active[ended].tolist())
        self.joining.difference_update(active[ended].tolist())
        some = new > 0
        return list(map(Came, active[some].tolist(), new[some].tolist(), ended[some].tolist()))

    def _engine(self, request: int) -> int:
        record = self.state.requests[request]
        rank = record["decode_rank"] if self.state.settings["disaggregated"][0] else record["rank"]
        return int(self.state.ranks["engine"][rank])


def live_run(deployment: Deployment, service: ServiceModel, requests: int, seed: int = 0) -> LiveRun:
    """An empty run with room for `requests` requests.

    Raises `SimulationError` for inputs that cannot run, and for deployments that speculate or order their
    queues by what requests are: those are not known beforehand.
    """
    if any(pool.speculation is not None for pool in deployment.pools):
        raise SimulationError("a live run cannot speculate: remove speculation")
    if deployment.pools[0].scheduling.order != "fcfs":
        raise SimulationError("a live run serves in order of arrival: set order: fcfs")
    options = SimulationOptions()
    state, laws = lay_out(_slots(requests + 2), deployment, service, seed, options, LOG_STEPS)
    return LiveRun(state, prepare(state, laws))


def _slots(count: int) -> Workload:
    """Places for requests that nobody has sent yet: each arrives when it is submitted."""
    ones: NDArray[np.int64] = np.ones(count, np.int64)
    return Workload(Requests(np.zeros(count), ones, ones.copy(), np.zeros(count + 1, np.int64), ones[:0], 16))
