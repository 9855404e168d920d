"""How the requests of a workload come, laid out for the kernel: who waits for whom, and for how long."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.traffic.requests import Workload
from llmopt_simulator.kernel import records
from llmopt_simulator.kernel import state as k


def turn_links(workload: Workload) -> k.Records:
    """For every request whom it follows and, first to last, who follow it; empty where nobody follows."""
    if workload.concurrency is not None or workload.follows is None or workload.follows.max() < 0:
        return np.zeros(0, records.TURN)
    follows = workload.follows
    links = np.full(len(follows), k.NONE, records.TURN)
    links["follows"] = follows
    later = np.flatnonzero(follows >= 0)
    later = later[np.argsort(follows[later], kind="stable")]
    before = follows[later]
    opens = np.concatenate([[True], before[1:] != before[:-1]])
    links["follower"][before[opens]] = later[opens]
    links["sibling"][later[:-1][~opens[1:]]] = later[1:][~opens[1:]]
    return links


def pauses_to_think(workload: Workload) -> NDArray[np.float64]:
    """Seconds of thought before every request, or nothing where nobody thinks."""
    if workload.think_s is None or not workload.think_s.any():
        return np.zeros(0)
    return np.ascontiguousarray(workload.think_s, np.float64)


def most_thinkers(workload: Workload) -> int:
    """Requests that may be awaited at a time: one a user, or all that follow another."""
    if workload.concurrency is not None:
        return min(workload.concurrency, len(workload.requests))
    return 0 if workload.follows is None else int(np.sum(workload.follows >= 0))


def set_first_arrival(state: k.State, workload: Workload) -> None:
    """Let the users of a closed loop think of their first requests; put the first arrival atop the events."""
    users, arrivals = 0, len(state.sources) - 1
    if workload.concurrency is not None:
        users = most_thinkers(workload)
        begin_s = state.think_s[:users] if len(state.think_s) else np.zeros(users)
        order = np.argsort(begin_s, kind="stable")  # a sorted array is a heap
        state.thinkers["time_s"], state.thinkers["request"] = begin_s[order], order
    state.world["thinking"] = state.world["called"] = users
    places = np.arange(len(state.sources))
    places[[0, arrivals]] = arrivals, 0
    state.sources["place"] = state.sources["at_place"] = places
    state.sources["time_s"] = math.inf
    first_s = state.thinkers["time_s"][0] if users else workload.requests.arrival_s[0]
    state.sources["time_s"][arrivals] = first_s
