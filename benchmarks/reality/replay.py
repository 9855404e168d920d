"""A measured run, simulated: vLLM's policy with the run's settings, and the step law of its profile.

The law is the profile's kernel times and the spread of contexts that the workload's lengths imply. One
constant may be added: the time of a step that no kernel time holds. It is never taken from the run that
is predicted (`overhead_s`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_calibration.imbalance import context_spread
from llmopt_calibration.profiled import ProfiledStep, profiled_law
from llmopt_calibration.tabulated import compile_tabulated
from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_simulator import PoolService, Run, ServiceModel, simulate
from reality.measured import PAGE_TOKENS, MeasuredRun

LLAMA_BLOCKS: Final = 32
"""Transformer blocks of Llama-3.1-8B."""
VLLM: Final = Scheduling(growth=KvGrowth(conservativeness=0.0, watermark=0.0))
"""Decodes first, prompts in order of arrival, pages as sequences grow, the last one recomputed when none is
left; scheduling overlaps the step before (`async_scheduling`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """TTFT, TPOT and E2E latency of every request in seconds, shape (n,)."""

    ttft_s: NDArray[np.float64]
    tpot_s: NDArray[np.float64]
    e2e_s: NDArray[np.float64]


def latencies(
    arrival_s: NDArray[np.float64],
    first_token_s: NDArray[np.float64],
    last_token_s: NDArray[np.float64],
    output_tokens: NDArray[np.int64],
) -> Latencies:
    """What the moments of requests say."""
    tpot_s = (last_token_s - first_token_s) / np.maximum(output_tokens - 1, 1)
    return Latencies(first_token_s - arrival_s, tpot_s, last_token_s - arrival_s)


def measured(run: MeasuredRun) -> Latencies:
    """The measured latencies."""
    requests = run.workload.requests
    return latencies(requests.arrival_s, run.first_token_s, run.last_token_s, requests.output_tokens)


def replay(run: MeasuredRun, overhead_s: float = 0.0, spread: bool = True) -> Run:
    """The simulated run."""
    requests = run.workload.requests
    contexts = context_spread(requests.input_tokens, requests.output_tokens, 256) if spread else None
    step = ProfiledStep(LLAMA_BLOCKS, run.capture_sizes, contexts, overhead_s)
    law = compile_tabulated(profiled_law(run.profile, step))
    layout = Layout(tp=run.tp)
    pool = PoolDeployment("serve", run.name, layout, 1, run.chunk_tokens, run.batch_cap, VLLM)
    service = ServiceModel((PoolService(law, run.kv_tokens, PAGE_TOKENS),))
    return simulate(run.workload, Deployment("aggregated", (pool,), prefix_cache=run.prefix_cache), service)


def simulated(run: Run) -> Latencies:
    """The simulated latencies."""
    moments = (run.column(name) for name in ("arrival_s", "first_token_s", "finish_s"))
    return latencies(*moments, run.workload.requests.output_tokens)
