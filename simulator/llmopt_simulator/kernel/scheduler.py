"""What one rank does in a step: decodes and prefill, by the policy of its engine, within the token budget.

Decode first: every decode, then prefill tokens in queue order up to the budget. Prefill first: prefill alone
while there is any, else the decodes. At most the last request in prefill is partial, because the next
one is admitted only while the step has budget left.

Speculating sequences take the tokens that they verify, and pages for their drafts too.

Admission reserves pages for the whole input and output (the input alone in a prefill pool, whose requests
leave with their KV). With growth it takes those of the prompt, and asks that a share of the output still to
come would fit beside them. A first request that does not fit is tried again when something has changed:
a sequence has ended or been retracted, prefill has computed blocks (they may be hits), or another is first.
A request with hits in host memory waits for them beside the queue and is the next to prefill then.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.kernel.compiling import inner, once
from llmopt_simulator.kernel.events import first, pop, push
from llmopt_simulator.kernel.foresight import is_seen, waiting_requests
from llmopt_simulator.kernel.growth import enter_growth, make_room, pages_of, take_pages
from llmopt_simulator.kernel.kv_transfer import begin_load
from llmopt_simulator.kernel.prefix_cache import (
    blocks_on_host,
    evict,
    insert,
    lock_path,
    matched_blocks,
    unused_in_path,
)
from llmopt_simulator.kernel.recording import count_recomputed
from llmopt_simulator.kernel.running import join_running, running_requests
from llmopt_simulator.kernel.state import State
from llmopt_simulator.kernel.waiting import dequeue, loaded_queue


@inner
def hit_limit(s: State, request: int) -> int:
    """Blocks that a hit may cover: at least one token is always computed."""
    q = s.requests[request]
    return min(q.blocks, (q.prompt_tokens - 1) // max(1, s.settings[0].block_tokens))


@inner
def front_pages(s: State, r: int, request: int) -> int:
    """Pages that admission to a rank of the front pool reserves, hits included."""
    q = s.requests[request]
    whole = not (s.ranks[r].sends or s.ranks[r].grows)
    return pages_of(
        s, r, request, q.prompt_tokens + (q.output_tokens + s.ranks[r].verify - 1 if whole else 0)
    )


@inner
def most_pages(s: State, r: int, request: int) -> int:
    """Pages without which a rank of the front pool can never serve a request."""
    q, rank = s.requests[request], s.ranks[r]
    if not rank.grows:
        return front_pages(s, r, request)
    kept_free = rank.watermark_pages + (1 if rank.spare_page else 0)
    return pages_of(s, r, request, q.input_tokens + q.output_tokens + rank.verify - 1) + kept_free


@inner
def decode_pages(s: State, r: int, request: int) -> int:
    """Pages that a request reserves on a rank of the decode pool, which caches no prefixes."""
    q, rank = s.requests[request], s.ranks[r]
    tokens = q.input_tokens + q.output_tokens + rank.verify - 1
    return (tokens + rank.page_tokens - 1) // rank.page_tokens


@once
def plan_step(s: State, r: int, now_s: float) -> None:
    """Choose the decodes and prefill tokens of the next step of a rank of the front pool."""
    rank = s.ranks[r]
    rank.chunks = rank.step_tokens = 0
    rank.step_work = rank.step_granules = rank.step_squares = 0.0
    if rank.prefill_first:
        _plan_prefill(s, r, 0, now_s)
        rank.step_decodes = rank.decodes if rank.step_tokens == 0 else 0
        if rank.grows and rank.step_decodes > 0:
            make_room(s, r)
            rank.step_decodes = rank.decodes
    else:
        if rank.grows:
            make_room(s, r)
        rank.step_decodes = rank.decodes
        _plan_prefill(s, r, rank.decodes * rank.verify, now_s)


@inner
def may_admit(s: State, r: int, waiting: int, unseen_places: int) -> bool:
    """Whether the first of `waiting` requests of a rank may be admitted, `unseen_places` being taken."""
    rank = s.ranks[r]
    taken = 0 if rank.prefill_first else rank.decodes * rank.verify
    return (
        not rank.full
        and waiting > 0
        and rank.decodes + rank.chunks + rank.loading + unseen_places < rank.batch_cap
        and taken + rank.step_tokens < rank.chunk_tokens
    )


@inner
def may_admit_next(s: State, r: int) -> bool:
    """Whether the step after the planned one may admit a request."""
    return may_admit(s, r, waiting_requests(s, r), 0)


@inner
def _plan_prefill(s: State, r: int, taken: int, now_s: float) -> None:
    """Prefill tokens beside `taken` others; admits waiting requests while budget is left."""
    rank, prefill = s.ranks[r], s.settings[0].ranks + r
    if s.queues[prefill].count > 0:
        _take_chunk(s, r, first(s, prefill), taken)
    while _may_take_loaded(s, r, taken):
        rank.loading -= 1
        _start_prefill(s, r, pop(s, loaded_queue(s, r)), taken)
    while may_admit(s, r, s.queues[r].count, rank.unseen_places):
        if not _admit(s, r, first(s, r)):
            rank.full = rank.unseen_pages == 0
            break
        request = dequeue(s, r)
        if np.isnan(s.requests[request].admitted_s):
            s.requests[request].admitted_s = now_s
        if s.requests[request].host_blocks > 0:
            begin_load(s, r, request, now_s)
        else:
            _start_prefill(s, r, request, taken)


@inner
def _may_take_loaded(s: State, r: int, taken: int) -> bool:
    """Whether a request whose hits have come from host memory may prefill."""
    queue, rank = loaded_queue(s, r), s.ranks[r]
    return (
        s.queues[queue].count > 0
        and taken + rank.step_tokens < rank.chunk_tokens
        and is_seen(s, r, first(s, queue))
    )


@inner
def _start_prefill(s: State, r: int, request: int, taken: int) -> None:
    push(s, s.settings[0].ranks + r, request)
    _take_chunk(s, r, request, taken)


@once
def _admit(s: State, r: int, request: int) -> bool:
    """Take the pages of a request, reusing cached blocks; False, nothing changed, when it must wait."""
    q, rank = s.requests[request], s.ranks[r]
    total = front_pages(s, r, request)
    hits = matched_blocks(s, r, request, hit_limit(s, request))
    loads = blocks_on_host(s, hits)
    pages = total - (hits - loads) * rank.block_pages
    unused = unused_in_path(s, hits - loads)
    available = rank.free_pages + rank.evictable_pages - rank.unseen_pages - unused * rank.block_pages
    if pages + (_kept_pages(s, r, request) - total if rank.grows else 0) > available:
        return False
    lock_path(s, r, hits)
    evict(s, r, pages)
    _take_loaded_pages(s, r, loads * rank.block_pages)
    q.private_pages = pages - loads * rank.block_pages
    take_pages(s, r, q.private_pages)
    rank.wanted_pages -= total
    q.path_blocks = hits
    q.host_blocks = loads
    q.computed_tokens = hits * s.settings[0].block_tokens
    rank.remaining += q.input_tokens + q.output_tokens - q.prompt_tokens
    rank.outputs += q.output_tokens
    if np.isnan(q.admitted_s):
        q.hit_blocks = hits
        q.host_hit_blocks = loads
    else:
        count_recomputed(s, request, q.prompt_tokens - q.computed_tokens)
    return True


@inner
def _take_loaded_pages(s: State, r: int, pages: int) -> None:
    """Reserve free pages for nodes that come from host memory; the tree holds them already."""
    s.ranks[r].free_pages -= pages
    s.ranks[r].allocated_pages += pages


@inner
def _kept_pages(s: State, r: int, request: int) -> int:
    """Pages of a request and the share of output to come, its own and all others', above the watermark."""
    q, rank = s.requests[request], s.ranks[r]
    if running_requests(s, r) == 0:
        rank.share = rank.share_start
    left = q.input_tokens + q.output_tokens - q.prompt_tokens
    own = pages_of(s, r, request, q.prompt_tokens + int(np.ceil(rank.share * left)) + rank.verify - 1)
    others = int(np.ceil(rank.share * rank.remaining / rank.page_tokens))
    return own + others + rank.watermark_pages


@inner
def _take_chunk(s: State, r: int, request: int, taken: int) -> None:
    """Give a request in prefill as many tokens of this step as are left."""
    q, rank = s.requests[request], s.ranks[r]
    left = q.prompt_tokens - q.computed_tokens
    tokens = min(left, max(0, rank.chunk_tokens - taken - rank.step_tokens))
    q.step_tokens = tokens
    if tokens == 0:
        return
    rank.step_work += tokens * float(q.computed_tokens) + 0.5 * tokens * (tokens + 1.0)
    rank.step_granules += (q.computed_tokens + rank.granule - 1) // rank.granule
    rank.step_squares += float(tokens) * tokens
    rank.step_tokens += tokens
    rank.chunks += 1
    q.computed_tokens += tokens


@once
def complete_prefills(s: State, r: int, now_s: float) -> int:
    """Cache the blocks that this step has computed; how many prefills it has completed.

    They stay at the head of the rank's prefill queue for the caller to move on.
    """
    done = 0
    request = first(s, s.settings[0].ranks + r)
    for _ in range(s.queues[s.settings[0].ranks + r].count):
        q = s.requests[request]
        blocks = min(q.blocks, q.computed_tokens // max(1, s.settings[0].block_tokens))
        if blocks > q.path_blocks:
            insert(s, r, request, blocks)
            s.ranks[r].full = False
        if q.computed_tokens == q.prompt_tokens:
            if np.isnan(q.prefilled_s):
                q.prefilled_s = now_s
            s.ranks[r].full = False
            done += 1
        request = q.next
    return done


@inner
def next_prefilled(s: State, r: int) -> int:
    """Take the oldest request in prefill, which is complete."""
    request = pop(s, s.settings[0].ranks + r)
    s.ranks[r].remaining -= 1
    s.ranks[r].pending_tokens -= s.requests[request].prompt_tokens
    return request


@inner
def join_decode(s: State, r: int, request: int) -> None:
    """Add a request to the decode batch of a rank, and its growing pages to the counters."""
    join_running(s, r, request)
    enter_growth(s, r, request, 1)
