"""One run: a workload against a deployment, event by event, checked when it ends.

`simulate` lays the inputs out as arrays, lets the compiled kernel run until every request has finished or
been rejected, checks the invariants, and hands the arrays back as a `Run`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator.errors import SimulationError
from llmopt_simulator.invariants import check_invariants
from llmopt_simulator.kernel import state as k
from llmopt_simulator.kernel.laws import Laws
from llmopt_simulator.kernel.loop import prepare, run_events
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.service import ServiceModel
from llmopt_simulator.setup import lay_out
from llmopt_simulator.window import (
    Window,
    empty_snapshot,
    found_start,
    last_in_sequence,
    members,
    pauses,
    snapshot,
)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What happened, request by request and engine by engine."""

    workload: Workload
    deployment: Deployment
    service: ServiceModel
    options: SimulationOptions
    seed: int
    window: Window
    state: k.State
    """The final state; `requests`, `ranks`, `engines` are structured arrays (fields in `kernel.state`)."""

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Shape (n,): requests that were served; the others were rejected because they can never fit."""
        return np.asarray(self.state.requests["status"] == k.FINISHED)

    def column(self, name: str) -> NDArray[Any]:
        """A field of every request, shape (n,): `arrival_s`, `admitted_s`, `first_token_s`, `finish_s`, …

        Times of rejected requests are NaN.
        """
        return np.asarray(self.state.requests[name])

    @property
    def hit_tokens(self) -> NDArray[np.int64]:
        """Shape (n,): input tokens whose KV was in the prefix cache."""
        return self.column("hit_blocks").astype(np.int64) * int(self.state.settings["block_tokens"][0])

    @property
    def host_hit_tokens(self) -> NDArray[np.int64]:
        """Shape (n,): those of `hit_tokens` that were loaded from host memory."""
        return self.column("host_hit_blocks").astype(np.int64) * int(self.state.settings["block_tokens"][0])

    @property
    def makespan_s(self) -> float:
        """When the last event happened."""
        return float(self.state.world["now_s"][0])


def simulate(
    workload: Workload,
    deployment: Deployment,
    service: ServiceModel,
    seed: int = 0,
    options: SimulationOptions | None = None,
) -> Run:
    """Run `workload` on `deployment` until every request has finished or been rejected.

    `seed` feeds the policies that draw (power of two); the same arguments give the same bytes. Raises
    `SimulationError` for inputs that cannot run and for a step law whose steps do not move the clock,
    and `InvariantError` if the run contradicts itself.
    """
    options = options or SimulationOptions()
    state, laws = lay_out(workload, deployment, service, seed, options)
    window = _run_window(workload, state, laws, options)
    if state.world["fault"][0] == k.FAULT_STEP:
        raise SimulationError(_step_fault(state))
    check_invariants(state)
    return Run(workload, deployment, service, options, seed, window, state)


def _run_window(workload: Workload, state: k.State, laws: Laws, options: SimulationOptions) -> Window:
    """Run to the end, pausing where the measured window may open and where it closes.

    A window without length (a handful of requests, or all at once) is replaced by the whole run.
    """
    *starts, stop = pauses(workload, options.warmup_fraction)
    last, moments, prepared = last_in_sequence(workload), [], prepare(state, laws)
    for request in (*starts, stop):
        run_events(prepared, min(request, last))
        moments.append(snapshot(state, float(state.sources["time_s"][-1])))
    run_events(prepared, k.NONE)
    *openings, closes = moments
    opens = found_start(state.requests, openings) if options.warmup_fraction is None else openings[0]
    number = opens.arrived, closes.arrived + (stop > last)
    if not opens.time_s < closes.time_s < math.inf:
        opens, closes = empty_snapshot(state), snapshot(state, float(state.world["now_s"][0]))
    return Window(*number, members(workload, state.requests, *number), opens, closes)


def _step_fault(state: k.State) -> str:
    engine, now_s = state.engines[state.world["fault_engine"][0]], state.world["now_s"][0]
    return (
        f"the step law of pool {engine['pool']} gives no duration that moves the clock (at {now_s:.9g} s) at "
        f"b = {engine['batch']}, p = {engine['prefill']}, A = {engine['work']}, N = {engine['tokens']}, "
        f"h = {engine['heads']}: compile it with the bounds of step_bounds(pool), let every step take time, "
        "and give times from the start of the run"
    )
