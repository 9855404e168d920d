"""What one rank does in a step: all its decodes, then prefill in FIFO order up to the token budget.

Decode sequences are never touched one by one. A rank keeps their number, the sum of their contexts, and a
heap of the decode step at which each one ends; a step adds the number to the sum. At most the last
request in prefill is partial, because the next one is admitted only while the step has budget left.

Admission reserves pages for the whole input and output (the input alone in a prefill pool, whose requests
leave with their KV); the caller has rejected what can never fit.
"""

from __future__ import annotations

from llmopt_simulator.kernel.compiling import inner
from llmopt_simulator.kernel.events import first, heap_push, pop, push
from llmopt_simulator.kernel.prefix_cache import evict, insert, lock_path, matched_blocks, unused_in_path
from llmopt_simulator.kernel.state import State

_REQUEST_BITS = 31


@inner
def hit_limit(s: State, request: int) -> int:
    """Blocks that a hit may cover: at least one input token is always computed."""
    q = s.requests[request]
    return min(q.blocks, (q.input_tokens - 1) // max(1, s.settings[0].block_tokens))


@inner
def total_pages(s: State, r: int, request: int, tokens: int) -> int:
    """Pages of a request's first `tokens` tokens on rank `r`; a shareable block starts on a fresh page."""
    q, rank = s.requests[request], s.ranks[r]
    rest = tokens - q.blocks * s.settings[0].block_tokens
    return q.blocks * rank.block_pages + (rest + rank.page_tokens - 1) // rank.page_tokens


@inner
def front_pages(s: State, r: int, request: int) -> int:
    """Pages that admission to a rank of the front pool reserves, hits included."""
    q = s.requests[request]
    return total_pages(
        s, r, request, q.input_tokens + (0 if s.settings[0].disaggregated else q.output_tokens)
    )


@inner
def decode_pages(s: State, r: int, request: int) -> int:
    """Pages that a request reserves on a rank of the decode pool, which caches no prefixes."""
    q, rank = s.requests[request], s.ranks[r]
    return (q.input_tokens + q.output_tokens + rank.page_tokens - 1) // rank.page_tokens


@inner
def take_pages(s: State, r: int, pages: int) -> None:
    """Reserve pages that are free."""
    rank = s.ranks[r]
    rank.free_pages -= pages
    rank.held_pages += pages
    rank.allocated_pages += pages
    rank.peak_pages = max(rank.peak_pages, rank.capacity_pages - rank.free_pages - rank.evictable_pages)


@inner
def give_pages(s: State, r: int, pages: int) -> None:
    """Free pages of the decode pool."""
    rank = s.ranks[r]
    rank.free_pages += pages
    rank.held_pages -= pages
    rank.freed_pages += pages


@inner
def plan_prefill(s: State, r: int, now_s: float) -> None:
    """Choose the prefill tokens of rank `r`'s next step; admits waiting requests while budget is left."""
    rank, prefill = s.ranks[r], s.settings[0].ranks + r
    rank.chunks = 0
    rank.step_tokens = 0
    rank.step_work = 0.0
    if s.queues[prefill].count > 0:
        _take_chunk(s, r, first(s, prefill))
    while s.queues[r].count > 0 and rank.decodes + rank.chunks < rank.batch_cap:
        if rank.decodes + rank.step_tokens >= rank.chunk_tokens or not _admit(s, r, first(s, r)):
            break
        request = pop(s, r)
        s.requests[request].admitted_s = now_s
        push(s, prefill, request)
        _take_chunk(s, r, request)


@inner
def _admit(s: State, r: int, request: int) -> bool:
    """Reserve the pages of a request, reusing cached blocks; False, nothing changed, when it must wait."""
    q, rank = s.requests[request], s.ranks[r]
    total = front_pages(s, r, request)
    hits = matched_blocks(s, r, request, hit_limit(s, request))
    pages = total - hits * rank.block_pages
    if pages > rank.free_pages + rank.evictable_pages - unused_in_path(s, hits) * rank.block_pages:
        return False
    lock_path(s, r, hits)
    evict(s, r, pages)
    take_pages(s, r, pages)
    rank.wanted_pages -= total
    q.private_pages = pages
    q.hit_blocks = hits
    q.computed_tokens = hits * s.settings[0].block_tokens
    return True


@inner
def _take_chunk(s: State, r: int, request: int) -> None:
    """Give a request in prefill as many tokens of this step as are left."""
    q, rank = s.requests[request], s.ranks[r]
    left = q.input_tokens - q.computed_tokens
    tokens = min(left, max(0, rank.chunk_tokens - rank.decodes - rank.step_tokens))
    if tokens == 0:
        return
    rank.step_work += tokens * float(q.computed_tokens) + 0.5 * tokens * (tokens + 1.0)
    rank.step_tokens += tokens
    rank.chunks += 1
    q.computed_tokens += tokens


@inner
def complete_prefills(s: State, r: int, now_s: float) -> int:
    """Cache the blocks of requests whose prefill ends with this step; how many they are.

    They stay at the head of the rank's prefill queue for the caller to move on.
    """
    done = 0
    request = first(s, s.settings[0].ranks + r)
    for _ in range(s.queues[s.settings[0].ranks + r].count):
        q = s.requests[request]
        if q.computed_tokens == q.input_tokens:
            insert(s, r, request)
            q.prefilled_s = now_s
            done += 1
        request = q.next
    return done


@inner
def join_decode(s: State, r: int, request: int) -> None:
    """Add a request that has its first token, and wants more, to the decode batch of a rank."""
    q, rank = s.requests[request], s.ranks[r]
    ends = rank.steps + q.output_tokens - 1
    heap_push(s.completions, rank.heap, rank.decodes, (ends << _REQUEST_BITS) | request)
    rank.decodes += 1
    rank.context += q.input_tokens + 1
    rank.peak_batch = max(rank.peak_batch, rank.decodes)


@inner
def next_completion(s: State, r: int) -> int:
    """Decode steps until a sequence of rank `r` ends; the rank has one."""
    return (s.completions[s.ranks[r].heap] >> _REQUEST_BITS) - s.ranks[r].steps


@inner
def first_to_complete(s: State, r: int) -> int:
    """The request of rank `r` that ends next."""
    return s.completions[s.ranks[r].heap] & ((1 << _REQUEST_BITS) - 1)
