"""The settings of a run, as a record that compiled functions read."""

from __future__ import annotations

from typing import Final

import numpy as np

SETTINGS: Final = np.dtype(
    [
        ("front_ranks", "i8"),  # the first ones: of the pools where requests arrive
        ("back_start", "i8"),  # the first rank that requests are sent to
        ("ranks", "i8"),
        ("engines", "i8"),
        ("pipelined", "?"),
        ("disaggregated", "?"),
        ("closed_loop", "?"),
        ("prefix_cache", "?"),
        ("eviction", "i8"),
        ("queue_limit", "i8"),
        ("grows", "?"),
        ("block_tokens", "i8"),
        ("ring", "i8"),  # decode steps of the agenda
        ("stream", "u8"),  # of the draws of speculation
        ("hash_bits", "i8"),
        ("router", "i8"),
        ("decode_router", "i8"),
        ("dp_aware", "?"),
        ("dp_balance", "i8"),
        ("workers", "i8"),
        ("trees_evict", "?"),
        ("max_tree_tokens", "i8"),
        ("eviction_interval_s", "f8"),
        ("cache_threshold", "f8"),
        ("balance_abs", "f8"),
        ("balance_rel", "f8"),
        ("instances", "i8"),
        ("transfer_latency_s", "f8"),
        ("near_latency_s", "f8"),  # of transfers inside a node
        ("rack_latency_s", "f8"),  # more, between racks
        ("transfer_layers", "i8"),  # parts in which a context is sent; 1: all when prefill has ended
        ("transfer_bytes_per_token", "f8"),
    ],
    align=True,
)
"""What does not change during a run."""
