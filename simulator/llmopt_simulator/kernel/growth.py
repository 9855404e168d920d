"""KV pages that are taken as sequences grow, and the retraction of requests when none is left.

A decode sequence opens a page at every decode step whose number is in one class modulo the page. So a rank
keeps, for each class, the number of its sequences: a step takes one counter's pages, and no sequence is
touched. Pages of the steps of a run are taken when the steps are recorded, or when somebody looks.

The last of the running list is the partial prefill if there is one, else the sequence that joined last.
"""

from __future__ import annotations

from typing import Final

from llmopt_simulator.kernel.compiling import inner, once
from llmopt_simulator.kernel.contest import note_pages
from llmopt_simulator.kernel.events import pop
from llmopt_simulator.kernel.prefix_cache import evict, unlock_path
from llmopt_simulator.kernel.recording import count_recomputed
from llmopt_simulator.kernel.running import leave_running, running_requests
from llmopt_simulator.kernel.speculation import draw_tokens, enter, produced_before
from llmopt_simulator.kernel.state import State
from llmopt_simulator.kernel.waiting import enqueue_first

_STEPS_KEPT: Final = 20
"""Decode steps that every running request is granted after a retraction (SGLang `retract_decode_steps`)."""


@inner
def pages_of(s: State, r: int, request: int, tokens: int) -> int:
    """Pages of a request's first `tokens` tokens on rank `r`; a shareable block starts on a fresh page."""
    q, rank = s.requests[request], s.ranks[r]
    rest = tokens - q.blocks * s.settings[0].block_tokens
    return q.blocks * rank.block_pages + (rest + rank.page_tokens - 1) // rank.page_tokens


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
    """Free pages that a request held."""
    rank = s.ranks[r]
    rank.free_pages += pages
    rank.held_pages -= pages
    rank.freed_pages += pages


@inner
def _opens_page(s: State, r: int, request: int) -> int:
    """The class of decode steps, as an index of `growth`, at which a running sequence opens a page."""
    q, rank = s.requests[request], s.ranks[r]
    rest = q.prompt_tokens - q.blocks * s.settings[0].block_tokens
    return rank.growth + (q.begins - rest) % rank.page_tokens


@inner
def enter_growth(s: State, r: int, request: int, change: int) -> None:
    """Count a sequence that has joined (or strike it: -1) where it opens pages, from the steps not taken on.

    One that speculates opens pages at steps of its own: those of its drafts too, and several in one step.
    """
    rank = s.ranks[r]
    if not rank.grows:
        return
    if rank.verify == 1:
        s.growth[_opens_page(s, r, request)] += change
        return
    q = s.requests[request]
    begin = max(q.begins, rank.grown)
    produced = produced_before(s, r, request, begin)
    held = _held_before(s, r, request, begin)
    for step in range(begin, q.ends):
        pages = pages_of(s, r, request, q.input_tokens + produced + rank.verify - 1)
        s.growth[rank.growth + step % rank.growth_period] += change * (pages - held)
        produced += draw_tokens(s, request, produced)
        held = pages


@inner
def _held_before(s: State, r: int, request: int, step: int) -> int:
    """Pages of a running sequence before decode step number `step` of its rank takes more."""
    q, rank = s.requests[request], s.ranks[r]
    if step == q.begins:
        return pages_of(s, r, request, q.prompt_tokens)
    drafted = q.input_tokens + produced_before(s, r, request, step - 1) + rank.verify - 1
    return pages_of(s, r, request, drafted)


@inner
def settle(s: State, r: int, request: int) -> None:
    """Book the pages that a sequence has opened since it joined as its own; it leaves the batch."""
    q, rank = s.requests[request], s.ranks[r]
    if rank.grows:
        enter_growth(s, r, request, -1)
        held = _held_before(s, r, request, min(rank.steps, q.ends))
        q.private_pages += held - pages_of(s, r, request, q.prompt_tokens)


@inner
def take_growth(s: State, r: int, until: int) -> None:
    """Take the pages of the decode steps before number `until` that have not been taken."""
    rank = s.ranks[r]
    note_pages(s, r)
    while rank.grown < until:
        index = rank.growth + rank.grown % rank.growth_period
        pages = s.growth[index]
        if pages > 0:
            evict(s, r, pages)
            take_pages(s, r, pages)
        if rank.verify > 1:
            s.growth[index] = 0
        rank.grown += 1


@once
def take_started(s: State, now_s: float) -> None:
    """Take the pages of every step that has started, so that free pages are what they are now."""
    for e in range(s.settings[0].engines):
        engine = s.engines[e]
        step = engine.run_done
        while engine.busy == 1 and step + 1 < engine.run_steps and s.run_ends_s[e, step] < now_s:
            step += 1
        for r in range(engine.rank_start, engine.rank_stop):
            rank = s.ranks[r]
            if rank.grows and engine.busy == 1 and rank.step_decodes > 0:
                take_growth(s, r, rank.steps + step - engine.run_done + 1)


@inner
def steps_with_pages(s: State, r: int, most: int) -> int:
    """Decode steps, `most` at most, whose pages are there; those of the first have been taken."""
    rank = s.ranks[r]
    available = rank.free_pages + rank.evictable_pages
    for i in range(1, most):
        if not _fits(s, r, rank.steps + i, available):
            return i
        available -= s.growth[rank.growth + (rank.steps + i) % rank.growth_period]
    return most


@inner
def make_room(s: State, r: int) -> None:
    """Retract from the end of the running list until the next decode step finds its pages; take them."""
    rank, retractions = s.ranks[r], s.world[0].retractions
    while not _fits(s, r, rank.steps, rank.free_pages + rank.evictable_pages):
        _retract(s, r)
    if s.world[0].retractions > retractions:
        used = rank.outputs - rank.remaining + _STEPS_KEPT * running_requests(s, r)
        rank.share = min(1.0, used / max(1, rank.outputs)) if rank.share_decay > 0.0 else rank.share
    if rank.decodes > 0:
        take_growth(s, r, rank.steps + 1)


@inner
def _fits(s: State, r: int, step: int, available: int) -> bool:
    """Whether all decodes of a step find a page: the one that joined last is the last to ask."""
    rank = s.ranks[r]
    if rank.decodes == 0:
        return True
    index = rank.growth + step % rank.growth_period
    if not rank.spare_page:
        return s.growth[index] <= available
    return s.growth[index] - (_opens_page(s, r, rank.newest) == index) < available


@once
def _retract(s: State, r: int) -> None:
    rank, prefill = s.ranks[r], s.settings[0].ranks + r
    s.world[0].retractions += 1
    if s.queues[prefill].count > 0:
        request = pop(s, prefill)
        q = s.requests[request]
        count_recomputed(s, request, q.computed_tokens - q.prompt_tokens)
    else:
        request = rank.newest
        _stop_decoding(s, r, request)
    unlock_path(s, r, request)
    q = s.requests[request]
    give_pages(s, r, q.private_pages)
    q.private_pages = 0
    q.retractions += 1
    rank.remaining -= q.input_tokens + q.output_tokens - q.prompt_tokens
    rank.outputs -= q.output_tokens
    rank.full = False
    rank.wanted_pages += pages_of(s, r, request, q.prompt_tokens)
    enqueue_first(s, r, request)


@once
def _stop_decoding(s: State, r: int, request: int) -> None:
    """Take a sequence out of the decode batch; what it has produced becomes part of its prompt."""
    q, rank = s.requests[request], s.ranks[r]
    tokens = q.input_tokens + produced_before(s, r, request, rank.steps)
    enter(s, r, request, rank.steps, -1)
    settle(s, r, request)
    if rank.joined == 0:
        q.token_s = rank.decoded_s
    leave_running(s, r, request)
    rank.context -= tokens
    rank.pending_tokens += tokens
    q.prompt_tokens = tokens
