"""KV transfers from prefill to decode instances, and loads of cached blocks from host memory.

A transfer crosses its sender's outgoing and its receiver's incoming link, and those of their racks if they
are in two; inside a node it has links of its own. A load crosses the host link of its rank's accelerators,
which ranks of other engines of the instance share. Loads run beside steps: a request with hits in host memory
holds its pages and its place in the batch, and joins prefill when they have come.

Sent at the end, a transfer begins when its decode rank has room for it, after prefill. Sent by layer, it asks
for room when its prefill's first layer has been computed, after a layer's share of the step, and again in
each further step until there is some. From then on a step makes its KV evenly, but for that of the last
layer, which may be sent when the step has ended; after the last step it is set up like a transfer of its own.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner, once
from llmopt_simulator.kernel.distance import OTHER_RACK, SAME_NODE, distance
from llmopt_simulator.kernel.links import hold, move, share_links, start_flow
from llmopt_simulator.kernel.setups import set_up
from llmopt_simulator.kernel.state import FIRST_LAYER, HOST_LOAD, KV_TRANSFER, LAST_LAYER, NONE, State


@inner
def begin_transfer(s: State, request: int, now_s: float) -> None:
    """Set up the transfer of a request whose decode rank has reserved its pages."""
    q = s.requests[request]
    q.link_s = now_s + _latency_s(s, request)
    set_up(s, request, KV_TRANSFER, q.link_s)


@inner
def begin_load(s: State, r: int, request: int, now_s: float) -> None:
    """Set up the load of a request's hits in host memory, for which it has its pages."""
    rank = s.ranks[r]
    rank.loading += 1
    set_up(s, request, HOST_LOAD, now_s + rank.host_latency_s)


@inner
def enter_links(s: State, request: int, purpose: int, now_s: float) -> None:
    """Put a flow whose set-up has ended on its links."""
    q, rank = s.requests[request], s.ranks[s.requests[request].rank]
    if purpose == HOST_LOAD:
        size = q.host_blocks * rank.host_block_bytes
        start_flow(s, request, HOST_LOAD, (rank.host_link, NONE, NONE, NONE), size, now_s)
    else:
        size = q.input_tokens * s.settings[0].transfer_bytes_per_token  # a hit skips compute, never this
        s.world[0].moved_bytes += size
        if distance(s, q.rank, q.decode_rank) == SAME_NODE:
            s.world[0].near_bytes += size
        start_flow(s, request, KV_TRANSFER, _way(s, q.rank, q.decode_rank), size, now_s)
        if q.streams:
            _hold_back(s, request, now_s)
    share_links(s, now_s)


@once
def stream_step(s: State, e: int, now_s: float) -> None:
    """A step of a prefill engine begins: what it computes may be sent while it runs."""
    engine, layers = s.engines[e], s.settings[0].transfer_layers
    layer_s = (s.run_ends_s[e, 0] - now_s) / layers
    move(s, now_s)
    for r in range(engine.rank_start, engine.rank_stop):
        request = s.queues[s.settings[0].ranks + r].head
        for _ in range(s.ranks[r].chunks):
            if s.requests[request].streams:
                _hold_back(s, request, now_s)
            else:
                set_up(s, request, FIRST_LAYER, now_s + layer_s)
            request = s.requests[request].next
    share_links(s, now_s)


@once
def end_stream(s: State, request: int, now_s: float) -> None:
    """A request's prefill has ended: its last layer is set up to be sent."""
    move(s, now_s)
    _hold_back(s, request, now_s)
    share_links(s, now_s)
    set_up(s, request, LAST_LAYER, now_s + _latency_s(s, request))


@inner
def release_last_layer(s: State, request: int, now_s: float) -> None:
    """Nothing of a request's context is held back any more."""
    move(s, now_s)
    hold(s, request, 0.0, 0.0)
    share_links(s, now_s)


@inner
def _latency_s(s: State, request: int) -> float:
    """Set-up of a request's transfer, by the way that it goes."""
    q, settings = s.requests[request], s.settings[0]
    far = distance(s, q.rank, q.decode_rank)
    if far == SAME_NODE:
        return settings.near_latency_s
    return settings.transfer_latency_s + (settings.rack_latency_s if far == OTHER_RACK else 0.0)


@inner
def _way(s: State, sender: int, receiver: int) -> tuple[int, int, int, int]:
    """The links between two ranks."""
    a, b, far = s.ranks[sender], s.ranks[receiver], distance(s, sender, receiver)
    base = 2 * s.settings[0].instances if far == SAME_NODE else 0
    racks = 4 * s.settings[0].instances
    up, down = NONE, NONE
    if far == OTHER_RACK:
        up, down = racks + 2 * a.rack, racks + 2 * b.rack + 1
    return base + 2 * a.instance, base + 2 * b.instance + 1, up, down


@inner
def _hold_back(s: State, request: int, now_s: float) -> None:
    """Hold back what has still to be computed of a request, whose prefill is in a step or has ended."""
    q = s.requests[request]
    token_bytes, layers = s.settings[0].transfer_bytes_per_token, s.settings[0].transfer_layers
    step_bytes = q.step_tokens * token_bytes
    if not np.isnan(q.prefilled_s):
        hold(s, request, step_bytes / layers, 0.0)
        return
    e = s.ranks[q.rank].engine
    start_s = s.engines[e].run_start_s
    made_per_s = step_bytes * (1.0 - 1.0 / layers) / (s.run_ends_s[e, 0] - start_s)
    later_bytes = (q.input_tokens - q.computed_tokens) * token_bytes
    hold(s, request, later_bytes + step_bytes - made_per_s * (now_s - start_s), made_per_s)
