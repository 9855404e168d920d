"""KV transfers from prefill to decode instances, and loads of cached blocks from host memory.

A transfer crosses its sender's outgoing and its receiver's incoming link; a load the host link of its rank's
accelerators, which ranks of other engines of the instance share. Loads run beside steps: a request with hits
in host memory holds its pages and its place in the batch, and joins prefill when they have come.
"""

from __future__ import annotations

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.links import set_up, start_flow
from llmopt_simulator.kernel.state import HOST_LOAD, KV_TRANSFER, NONE, State


@inner
def begin_transfer(s: State, request: int, now_s: float) -> None:
    """Set up the transfer of a request whose decode rank has reserved its pages."""
    set_up(s, 0, request, now_s + s.settings[0].transfer_latency_s)


@inner
def begin_load(s: State, r: int, request: int, now_s: float) -> None:
    """Set up the load of a request's hits in host memory, for which it has its pages."""
    rank = s.ranks[r]
    rank.loading += 1
    set_up(s, rank.setup, request, now_s + rank.host_latency_s)


@inner
def enter_links(s: State, request: int, setup: int, now_s: float) -> None:
    """Put a flow whose set-up has ended on its links."""
    q, rank = s.requests[request], s.ranks[s.requests[request].rank]
    if setup > 0:
        size = q.host_blocks * rank.host_block_bytes
        start_flow(s, request, HOST_LOAD, (rank.host_link, NONE), size, now_s)
        return
    size = q.input_tokens * s.settings[0].transfer_bytes_per_token  # a hit skips compute, never this
    links = (2 * rank.instance, 2 * s.ranks[q.decode_rank].instance + 1)
    s.world[0].moved_bytes += size
    start_flow(s, request, KV_TRANSFER, links, size, now_s)
