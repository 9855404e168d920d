"""Laws that every run must keep, checked when it ends; a breach is a fault of the simulator.

Each check costs a pass over the requests or less. The names are those of the design: requests, tokens,
pages, clock, causality, one step at a time, work conservation, Little's law.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.errors import InvariantError
from llmopt_simulator.kernel import state as k

LITTLE_TOLERANCE = 1e-9
"""Relative difference allowed between the integral of the number in system and the sum of sojourn times."""


def check_invariants(state: k.State) -> None:
    """Raise `InvariantError` with the name of the first broken invariant and its numbers."""
    _check_faults(state)
    _check_requests(state)
    _check_order(state)
    _check_tokens(state)
    _check_pages(state)
    _check_retractions(state)
    _check_engines(state)
    _check_little(state)


def _require(holds: bool, invariant: str, numbers: str) -> None:
    if not holds:
        raise InvariantError(f"{invariant}: {numbers}")


def _check_faults(state: k.State) -> None:
    world = state.world[0]
    _require(world["fault"] != k.FAULT_CLOCK, "clock monotone", f"an event lies before {world['now_s']} s")
    _require(world["fault"] != k.FAULT_OVERLAP, "one step at a time", f"engine {world['fault_engine']}")


def _check_requests(state: k.State) -> None:
    """Requests injected = finished + rejected; none is left in a queue, a batch or on a link."""
    status, world = state.requests["status"], state.world[0]
    finished, rejected = int(np.sum(status == k.FINISHED)), int(np.sum(status == k.REJECTED))
    queued = int(state.queues["count"].sum() + state.ranks["decodes"].sum() + state.ranks["loading"].sum())
    left = queued + int(world["active"] + world["in_setup"] + world["thinking"])
    _require(
        finished + rejected == len(status) and left == 0 and world["in_system"] == 0,
        "requests conserved",
        f"{len(status)} sent, {finished} finished, {rejected} rejected, {left} left in queues and batches, "
        f"{world['in_system']} in the system",
    )


def _check_order(state: k.State) -> None:
    """Arrival ≤ admission < end of prefill ≤ KV delivered = first token ≤ finish, for every request."""
    done = state.requests[state.requests["status"] == k.FINISHED]
    _require_order(done["arrival_s"] <= done["admitted_s"], "no admission before arrival")
    _require_order(done["admitted_s"] < done["prefilled_s"], "no token before its prefill")
    ready = done["prefilled_s"]
    if state.settings["disaggregated"][0]:
        ready = np.fmax(ready, done["link_s"])  # of those that are sent at all
    _require_order(ready <= done["first_token_s"], "no token before its KV")
    _require_order(done["first_token_s"] <= done["finish_s"], "no finish before the first token")
    _require_order(
        (done["finish_s"] > done["first_token_s"]) == (done["output_tokens"] > 1), "decoding takes time"
    )


def _require_order(holds: NDArray[np.bool_], invariant: str) -> None:
    _require(
        bool(np.all(holds)),
        invariant,
        f"{np.sum(~holds)} requests, the first is finished request "
        f"{int(np.argmin(holds)) if len(holds) else 0}",
    )


def _check_tokens(state: k.State) -> None:
    """Every token of every finished request was computed once or was a hit."""
    done, world = state.requests[state.requests["status"] == k.FINISHED], state.world[0]
    follow = int((done["output_tokens"].astype(np.int64) - 1).sum())
    decoded = follow - (int(world["prefilled"]) - len(done))  # a prefill after a retraction makes a token too
    hits = int(done["hit_blocks"].astype(np.int64).sum()) * int(state.settings["block_tokens"][0])
    prefilled = int(done["input_tokens"].astype(np.int64).sum()) - hits + int(world["recomputed_tokens"])
    steps = state.totals.sum(axis=0)
    _require(
        steps[k.DECODE_TOKENS] == decoded and follow == world["itl_tokens"],
        "output tokens conserved",
        f"requests want {follow} after their first and {decoded} of decodes, steps made "
        f"{steps[k.DECODE_TOKENS]:.0f}, {world['itl_tokens']} latencies were recorded",
    )
    _require(
        steps[k.PREFILL_TOKENS] == prefilled,
        "input tokens conserved",
        f"requests want {prefilled} beyond their hits, steps made {steps[k.PREFILL_TOKENS]:.0f}",
    )


def _check_pages(state: k.State) -> None:
    """Pages allocated = freed + held ≤ capacity; at the end only the prefix cache holds any."""
    for number, rank in enumerate(state.ranks):
        kept = rank["tree_pages"] + rank["held_pages"]
        balanced = (
            rank["allocated_pages"] == rank["freed_pages"] + kept
            and rank["free_pages"] + kept == rank["capacity_pages"]
            and rank["evictable_pages"] == rank["tree_pages"]
            and rank["held_pages"] == 0
            and rank["wanted_pages"] == 0
            and rank["pending_tokens"] == 0
            and (not rank["grows"] or rank["remaining"] == rank["outputs"] == 0)
            and 0 <= rank["peak_pages"] <= rank["capacity_pages"]
            and 0 <= rank["host_pages"] <= rank["host_capacity_pages"]
        )
        fields = (
            "allocated",
            "freed",
            "held",
            "tree",
            "evictable",
            "wanted",
            "free",
            "peak",
            "capacity",
            "host",
            "host_capacity",
        )
        pages = {name: int(rank[f"{name}_pages"]) for name in fields}
        _require(bool(balanced), "pages conserved", f"rank {number}: {pages}")


def _check_retractions(state: k.State) -> None:
    """What is counted in all is counted by request; every counter of growing pages is empty at the end."""
    for name in ("retractions", "recomputed_tokens", "turned_away"):
        ours, theirs = int(state.world[name][0]), int(state.requests[name].sum())
        _require(ours == theirs, f"{name} counted", f"{ours} in all, {theirs} of the requests")
    _require(not state.growth.any(), "growth conserved", f"{int(state.growth.sum())} pages to come are left")
    left = int(np.abs(state.agenda).sum())
    _require(left == 0, "speculation conserved", f"{left} tokens to come are left")


def _check_engines(state: k.State) -> None:
    """An engine is busy at most all the time, and none is idle with work when the run ends."""
    busy_s, end_s = state.totals[:, k.BUSY_S], float(state.world["now_s"][0])
    _require(
        bool(np.all(busy_s <= end_s * (1.0 + 1e-9))),
        "one step at a time",
        f"an engine was busy {busy_s.max(initial=0.0)} s in a run of {end_s} s",
    )
    _require(not np.any(state.engines["busy"]), "work conserving", "an engine is busy after the last event")


def _check_little(state: k.State) -> None:
    done = state.requests[state.requests["status"] == k.FINISHED]
    sojourns_s = math.fsum(done["finish_s"] - done["arrival_s"])
    integral_s = float(state.world["request_s"][0])
    _require(
        abs(integral_s - sojourns_s) <= LITTLE_TOLERANCE * max(sojourns_s, float(state.world["now_s"][0])),
        "Little's law",
        f"the number in system integrates to {integral_s} request-seconds, sojourns sum to {sojourns_s}",
    )
