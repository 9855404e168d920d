"""The whole state of a simulation, as plain arrays that compiled functions change in place.

A *rank* batches requests and owns a KV cache; an *engine* is the ranks that step together; an *instance* is
the engines that share one network link. Requests move between FIFO queues (waiting at a rank, in prefill,
at the central router, awaiting a decode rank) that are linked lists through the requests themselves, so
a request is in at most one of them. There is no other state anywhere: a run is a function of what is
allocated here.

Records (structured arrays) keep the fields of one thing together in memory, give numba one type for every
deployment, and cost nothing to add a field to.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.kernel.records import (
    ENTRY,
    FLOW,
    LINK,
    NODE,
    QUEUE,
    SETUP,
    SOURCE,
    STEP,
    THINKER,
    TURN,
    WORKER,
)
from llmopt_simulator.kernel.settings import SETTINGS

Records = NDArray[Any]
"""A structured array; in compiled code `records[i].field` reads and writes one field."""

NONE: Final = -1
"""No request, node, rank, …"""

ROUND_ROBIN: Final = 0
SHORTEST_QUEUE: Final = 1
CACHE_AWARE: Final = 2
POWER_OF_TWO: Final = 3
CENTRAL_QUEUE: Final = 4
RANDOM: Final = 5
KV_AWARE: Final = 6
NEAREST: Final = 7
MINIMUM_TOKENS: Final = 8
"""Router policies."""

LRU: Final = 0
LFU: Final = 1
FIFO: Final = 2
"""Eviction policies."""

KV_TRANSFER: Final = 0
HOST_LOAD: Final = 1
"""Purposes of flows, and of set-ups: the flow may move its bytes."""

FIRST_LAYER: Final = 2
LAST_LAYER: Final = 3
"""Other purposes of set-ups: a step has computed its first layer, the last layer of a prompt may be sent."""

PENDING: Final = 0
FINISHED: Final = 1
REJECTED: Final = 2
"""Status of a request."""

BUSY_S: Final = 0
STEPS: Final = 1
FLOPS: Final = 2
HBM_BYTES: Final = 3
NETWORK_BYTES: Final = 4
DECODE_TOKENS: Final = 5
PREFILL_TOKENS: Final = 6
CONTEXT_TOKENS: Final = 7
BATCH_S: Final = 8
PREFILL_S: Final = 9
DECODE_S: Final = 10
DECODED: Final = 11
TOTALS: Final = 12
"""Columns of an engine's totals. `DECODED` counts the sequences of every decode step, which made
`DECODE_TOKENS` (more where they speculate); `CONTEXT_TOKENS` sums their contexts, `BATCH_S`
integrates the decode batch of all ranks over busy time, `PREFILL_S` and `DECODE_S` are the busy time of steps
with prefill and of steps with decodes (a mixed step is in both)."""

RUN_STEPS: Final = 32
"""Decode steps that an engine plans ahead at most; a buffer length, no effect on results."""

ITL_BIN_BITS: Final = 44  # low bits of a float that a bin forgets: 256 bins an octave
ITL_FLOOR_S: Final = 2.0**-20
ITL_FIRST_BIN: Final = (1023 - 20) << 8
ITL_BINS: Final = 31 << 8
"""Inter-token latencies fall in bins by the leading bits of the number: 1 µs to 2,000 s, centre to 0.2%."""

FAULT_NONE: Final = 0
FAULT_STEP: Final = 1
FAULT_CLOCK: Final = 2
FAULT_OVERLAP: Final = 3
"""What stopped a run: a step that does not move the clock, a clock that went back, two steps at once."""

REQUEST: Final = np.dtype(
    [
        ("arrival_s", "f8"),
        ("admitted_s", "f8"),
        ("prefilled_s", "f8"),
        ("first_token_s", "f8"),
        ("finish_s", "f8"),
        ("link_s", "f8"),  # when its KV transfer has been set up
        ("queued_s", "f8"),  # when it came to wait where it waits
        ("streams", "?"),  # it is sent while prefill computes it
        ("step_tokens", "i8"),  # of its prefill, in the latest step that had any
        ("blocks_start", "i8"),
        ("blocks", "i8"),  # full blocks that others may share
        ("answer_start", "i8"),
        ("answer_blocks", "i8"),  # blocks of its answer that the next turn may find
        ("input_tokens", "i8"),
        ("output_tokens", "i8"),
        ("hit_blocks", "i8"),
        ("host_blocks", "i8"),  # of the hits of this admission, those in host memory
        ("host_hit_blocks", "i8"),  # of `hit_blocks`
        ("computed_tokens", "i8"),  # input whose KV exists: hits and prefill up to the step in progress
        ("prompt_tokens", "i8"),  # what prefill computes: input, and after a retraction output too
        (
            "path_blocks",
            "i8",
        ),  # in use in the tree: hits of this admission, blocks computed since
        ("private_pages", "i8"),  # held by the request alone
        ("decode_pages", "i8"),  # reserved on the decode rank
        ("rank", "i8"),
        ("decode_rank", "i8"),
        ("next", "i8"),  # in the queue or the running list that it is in
        ("previous", "i8"),  # in the running list
        ("child", "i8"),  # in a queue that is ordered
        ("key", "i8"),  # its place there
        ("begins", "i8"),  # first decode step of its rank that it is in,
        ("ends", "i8"),  # and the first that it is not
        ("token_s", "f8"),  # its latest token before it joined the running list
        ("retractions", "i8"),
        ("recomputed_tokens", "i8"),  # prefilled after its first admission
        ("turned_away", "?"),  # rejected by a full queue
        ("status", "i8"),
    ],
    align=True,
)
RANK: Final = np.dtype(
    [
        ("engine", "i8"),
        ("instance", "i8"),
        ("node", "i8"),  # where its instance lies
        ("rack", "i8"),
        ("worker", "i8"),  # what it is to the router
        ("capacity_pages", "i8"),
        ("page_tokens", "i8"),
        ("block_pages", "i8"),
        ("chunk_tokens", "i8"),
        ("batch_cap", "i8"),
        ("host_capacity_pages", "i8"),
        ("host_pages", "i8"),  # of tree nodes in host memory
        ("host_peak_pages", "i8"),
        ("host_head", "i8"),  # the node that came there first
        ("host_tail", "i8"),
        ("host_link", "i8"),
        ("host_latency_s", "f8"),
        ("host_block_bytes", "f8"),
        ("loading", "i8"),  # admitted requests whose hits are on their way from host memory, or have come
        ("free_pages", "i8"),
        ("held_pages", "i8"),  # of running requests, outside the tree
        ("tree_pages", "i8"),
        ("evictable_pages", "i8"),  # of tree nodes that no running request uses
        ("wanted_pages", "i8"),  # of waiting requests
        ("peak_pages", "i8"),  # largest number in use: held and locked
        ("allocated_pages", "i8"),  # ever
        ("freed_pages", "i8"),  # ever
        ("outstanding", "i8"),  # routed here and not done
        ("pending_tokens", "i8"),  # prompts of those that wait or are in prefill
        ("stale", "?"),  # its free pages may have changed: see `contest`
        ("decodes", "i8"),
        ("context", "i8"),  # of all decodes, the token being computed included
        ("steps", "i8"),  # decode steps ever: the clock of the completion heap
        ("peak_batch", "i8"),
        ("newest", "i8"),  # the running list of decodes, by when they joined
        ("joined", "i8"),  # of them since the last decode step
        ("decoded_s", "f8"),  # when the last decode step ended
        ("step_decodes", "i8"),  # this step: decodes,
        ("chunks", "i8"),  # requests in prefill,
        ("step_tokens", "i8"),  # prefill tokens,
        ("step_work", "f8"),  # query-context pairs,
        ("step_granules", "f8"),  # context before every chunk in granules,
        ("step_squares", "f8"),  # and squared chunks
        ("granule", "i8"),
        ("sends", "?"),  # what it has prefilled goes to another rank
        ("prefill_first", "?"),
        ("ordered", "?"),
        ("unseen_pages", "i8"),  # given back since the step before began,
        ("unseen_places", "i8"),  # and places in the batch: see `foresight`
        ("full", "?"),  # the first waiting request did not fit, and nothing has changed since
        ("grows", "?"),
        ("spare_page", "?"),
        ("growth", "i8"),  # start of its counters, see `growth`,
        ("growth_period", "i8"),  # and their number
        ("verify", "i8"),  # tokens of a decode that a step verifies: the drafts and one, or one
        ("grown", "i8"),  # decode steps whose pages have been taken
        ("watermark_pages", "i8"),
        ("remaining", "i8"),  # output that running requests have still to produce,
        ("outputs", "i8"),  # and their output in all
        ("share", "f8"),  # conservativeness now,
        ("share_start", "f8"),
        ("share_floor", "f8"),
        ("share_decay", "f8"),
        ("heap", "i8"),  # start of its completion heap
        ("node_base", "i8"),
        ("free_node", "i8"),
        ("lru_head", "i8"),  # least recently used node that nobody holds
        ("lru_tail", "i8"),
        ("leaves", "i8"),  # nodes in its heap of leaves that nobody holds
        ("clock", "i8"),  # counts what orders nodes
        ("hash_base", "i8"),
    ],
    align=True,
)
ENGINE: Final = np.dtype(
    [
        ("pool", "i8"),
        ("prefills", "?"),  # requests arrive here
        ("law", "i8"),  # of its pool: 0 first, 1 last, 2 between
        ("instance", "i8"),
        ("rank_start", "i8"),
        ("rank_stop", "i8"),
        ("busy", "i8"),
        ("ready", "i8"),
        ("run_steps", "i8"),  # planned
        ("run_done", "i8"),  # of them recorded
        ("run_start_s", "f8"),
        ("lead", "i8"),  # the rank whose context is the longest in all planned steps, NONE if it changes
        ("run_joined", "i8"),  # sequences whose first latency in the run is not its first step
        ("batch", "i8"),  # b, p, A, h, C, Q of the planned steps: maxima over the ranks
        ("prefill", "i8"),
        ("work", "f8"),
        ("heads", "i8"),
        ("granules", "f8"),
        ("squares", "f8"),
        ("tokens", "i8"),  # N: sum over the ranks
        ("decodes", "i8"),  # sum over the ranks
        ("verify", "i8"),  # as of its ranks
        ("drafts", "?"),  # a draft runs beside the model
        ("window_s", "f8"),
        ("window_requests", "i8"),
        ("opened_s", "f8"),  # when the window opened, infinite while none is open
        ("overhead_s", "f8"),
        ("overlapped", "?"),
        ("stages", "i8"),  # of its instance's pipeline,
        ("first_stage", "i8"),  # the first of them in `stages_s`
        ("ahead", "?"),  # plans a step when the one before begins
        ("seen_s", "f8"),  # requests that came later are not in the next plan; infinite: all are
    ],
    align=True,
)
WORLD: Final = np.dtype(
    [
        ("now_s", "f8"),
        ("called", "i8"),  # next request of the sequence, or that a user of a closed loop will take
        ("arrived", "i8"),
        ("thinking", "i8"),  # requests in the heap of those that will arrive after a pause
        ("in_system", "i8"),
        ("counted_s", "f8"),  # time up to which `request_s` is integrated
        ("request_s", "f8"),  # integral of the number of requests in the system
        ("turn", "i8"),  # round robin
        ("decode_turn", "i8"),
        ("next_eviction_s", "f8"),  # of the router's trees
        ("free_entry", "i8"),
        ("random", "u8"),
        ("active", "i8"),  # flows on the links
        ("moved_s", "f8"),  # time up to which flows have moved
        ("moved_bytes", "f8"),  # of KV transfers that have entered the links
        ("near_bytes", "f8"),  # of them, inside a node
        ("next_flow", "i8"),  # the flow that changes next
        ("in_setup", "i8"),
        ("ready", "i8"),  # engines that may start a step
        ("stale", "i8"),  # ranks that are
        ("prefilled", "i8"),  # prefills that have completed
        ("retractions", "i8"),
        ("recomputed_tokens", "i8"),  # prefilled by requests that had been admitted before
        ("turned_away", "i8"),  # requests that a full queue rejected
        ("itl_s", "f8"),  # sum over tokens
        ("itl_tokens", "i8"),
        ("logged", "i8"),  # steps written to the log
        ("fault", "i8"),
        ("fault_engine", "i8"),
    ],
    align=True,
)


class State(NamedTuple):
    """Everything that a run reads and writes."""

    settings: Annotated[Records, SETTINGS]
    world: Annotated[Records, WORLD]
    requests: Annotated[Records, REQUEST]
    block_ids: NDArray[np.int64]
    turns: Annotated[Records, TURN]
    """Shape (n,), or (0,) where no request follows another."""
    think_s: NDArray[np.float64]
    """Shape (n,), or (0,) where nobody thinks."""
    thinkers: Annotated[Records, THINKER]
    """Heap of the requests that will arrive after a pause."""
    ranks: Annotated[Records, RANK]
    engines: Annotated[Records, ENGINE]
    queues: Annotated[Records, QUEUE]
    """Waiting at rank r: r; in prefill at rank r: ranks + r; loaded from host memory at rank r: 2 ranks + r;
    then central and dispatch; then, of every rank, those that have come since its engine planned the next
    step, and those that a hybrid rank has received and may decode."""
    nodes: Annotated[Records, NODE]
    leaves: NDArray[np.int64]
    """Heaps of every rank: nodes that may be evicted, see `eviction`."""
    table: NDArray[np.int64]
    """Open-addressing hash of every rank: low bits of a block id and its node, NONE where empty."""
    scratch: NDArray[np.int64]
    """Nodes of the prefix that was matched last."""
    workers: Annotated[Records, WORKER]
    """Front ranks or instances, whichever the router sees."""
    entries: Annotated[Records, ENTRY]
    """What the router remembers of its workers, see `router_trees`."""
    entry_table: NDArray[np.int64]
    """Open-addressing hash: block id × workers + worker to entry, NONE where empty."""
    completions: NDArray[np.int64]
    """Heaps of every rank: completion step × 2^31 + request."""
    growth: NDArray[np.int64]
    """Pages that the decodes of every rank that grows open, by decode step modulo the rank's period."""
    agenda: Annotated[NDArray[np.int32], 2]
    """Shape (ranks × ring, most tokens of a step + 1): sequences by tokens, see `speculation`; or empty."""
    survival: NDArray[np.float64]
    """Shape (draft tokens,): of each, the probability that it and all before it are accepted."""
    stages_s: NDArray[np.float64]
    """When each pipeline stage of every instance has done all planned steps."""
    run_ends_s: Annotated[NDArray[np.float64], 2]
    """Shape (engines, RUN_STEPS): ends of the planned steps."""
    setups: Annotated[Records, SETUP]
    """Heap of what will happen to flows before their bytes move, see `setups`."""
    flows: Annotated[Records, FLOW]
    links: Annotated[Records, LINK]
    """Outgoing and incoming: of every instance to other nodes, of every instance inside its node, of every
    rack to others; then the host links."""
    keys: Annotated[NDArray[np.int64], 2]
    """Shape (contests, places): what decides each tournament of ranks, see `contest`."""
    winners: Annotated[NDArray[np.int64], 2]
    """Shape (contests, 2 · places)."""
    stale: NDArray[np.int64]
    """Front ranks whose free pages may have changed."""
    holders: Annotated[NDArray[np.uint64], 2]
    """Shape (distinct blocks, words): the ranks that hold each block, see `holders`."""
    candidates: NDArray[np.uint64]
    """Shape (words,): the ranks that hold the prefix that was looked for last."""
    sources: Annotated[Records, SOURCE]
    """The event list, see `events`."""
    ready: NDArray[np.int64]
    totals: Annotated[NDArray[np.float64], 2]
    """Shape (engines, TOTALS)."""
    itl: NDArray[np.int64]
    """Shape (ITL_BINS,): tokens by inter-token latency."""
    log: Annotated[Records, STEP]
    """Steps in the order in which they were recorded, as many as there is room for: none in a plain run."""
