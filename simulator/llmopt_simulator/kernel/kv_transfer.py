"""KV transfers from prefill to decode instances over shared links (processor sharing).

A transfer is set up for a constant latency and then moves its bytes at the smaller of two fair shares: its
sender's link divided by the transfers that leave that instance, and its receiver's link divided by those
that arrive there. Rates change only when a transfer starts or ends, so between these moments the
bytes left fall linearly and the next completion is known exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import link_source, pop, push, set_event, transfer_source
from llmopt_simulator.kernel.state import State

NEGLIGIBLE: Final = 1e-12
"""Share of a transfer that rounding may leave over: transfers that end together end at one moment."""


@inner
def link_queue(s: State) -> int:
    """The FIFO of transfers in set-up; their latency is constant, so it is in order of time."""
    return 2 * s.settings[0].ranks + 2


@inner
def set_up(s: State, request: int, now_s: float) -> None:
    """Begin the transfer of a request whose decode rank has reserved its pages."""
    s.requests[request].link_s = now_s + s.settings[0].transfer_latency_s
    push(s, link_queue(s), request)
    _schedule_link(s)


@inner
def enter_link(s: State, now_s: float) -> None:
    """Put the transfer whose set-up has ended on its links."""
    request = pop(s, link_queue(s))
    _schedule_link(s)
    _move(s, now_s)
    w, q = s.world[0], s.requests[request]
    transfer = s.transfers[w.active]
    transfer.request = request
    transfer.sender = s.ranks[q.rank].instance
    transfer.receiver = s.ranks[q.decode_rank].instance
    transfer.left_bytes = _size(s, request)
    w.moved_bytes += transfer.left_bytes
    w.active += 1
    s.instances[transfer.sender].sending += 1
    s.instances[transfer.receiver].receiving += 1
    _share_links(s, now_s)


@inner
def leave_link(s: State, now_s: float) -> int:
    """Take the transfer that has completed off its links; returns its request."""
    _move(s, now_s)
    done, w = _first_to_end(s), s.world[0]
    transfer, last = s.transfers[done], s.transfers[w.active - 1]
    request = transfer.request
    s.instances[transfer.sender].sending -= 1
    s.instances[transfer.receiver].receiving -= 1
    transfer.request = last.request
    transfer.sender = last.sender
    transfer.receiver = last.receiver
    transfer.left_bytes = last.left_bytes
    w.active -= 1
    _share_links(s, now_s)
    return request


@inner
def _size(s: State, request: int) -> float:
    """Bytes of a request's KV; a prefix hit skips compute, never the transfer."""
    return s.requests[request].input_tokens * s.settings[0].transfer_bytes_per_token


@inner
def _schedule_link(s: State) -> None:
    queue = s.queues[link_queue(s)]
    set_event(s, link_source(s), s.requests[queue.head].link_s if queue.count > 0 else np.inf)


@inner
def _move(s: State, now_s: float) -> None:
    w = s.world[0]
    for i in range(w.active):
        transfer = s.transfers[i]
        left = transfer.left_bytes - transfer.bytes_per_s * (now_s - w.moved_s)
        transfer.left_bytes = left if left > NEGLIGIBLE * _size(s, transfer.request) else 0.0
    w.moved_s = now_s


@inner
def _share_links(s: State, now_s: float) -> None:
    w = s.world[0]
    for i in range(w.active):
        transfer = s.transfers[i]
        sent = s.settings[0].sender_bytes_per_s / s.instances[transfer.sender].sending
        transfer.bytes_per_s = min(
            sent, s.settings[0].receiver_bytes_per_s / s.instances[transfer.receiver].receiving
        )
    if w.active == 0:
        set_event(s, transfer_source(s), np.inf)
    else:
        first = s.transfers[_first_to_end(s)]
        set_event(s, transfer_source(s), now_s + first.left_bytes / first.bytes_per_s)


@inner
def _first_to_end(s: State) -> int:
    """The active transfer that ends next; the lower request of two that end together."""
    best, soonest = 0, np.inf
    for i in range(s.world[0].active):
        transfer = s.transfers[i]
        seconds = transfer.left_bytes / transfer.bytes_per_s
        if seconds < soonest or (seconds == soonest and transfer.request < s.transfers[best].request):
            best, soonest = i, seconds
    return best
