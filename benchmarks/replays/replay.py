"""A measured run, simulated: vLLM's policy with the run's settings, and the step law of its profile.

The law is the profile's kernel times and the spread of contexts that the workload's lengths imply. One
constant may be added, the time of a step that no kernel time holds (`overhead_s`), never from the run that is
predicted.
"""

from __future__ import annotations

from typing import Final

from llmopt_calibration.imbalance import context_spread
from llmopt_calibration.profiled import ProfiledStep, profiled_law
from llmopt_calibration.tabulated import compile_tabulated
from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_simulator import PoolService, Run, ServiceModel, simulate
from replays.measured import PAGE_TOKENS, MeasuredRun

LLAMA_BLOCKS: Final = 32
"""Transformer blocks of Llama-3.1-8B."""
LARGEST_BATCH: Final = 256
"""Decodes of the largest batch that the profiles hold."""
VLLM: Final = Scheduling(plan_ahead=True, growth=KvGrowth(conservativeness=0.0, watermark=0.0))
"""Decodes first, prompts in order of arrival, pages as sequences grow, the last one recomputed when none is
left; scheduling overlaps the step before (`async_scheduling`)."""


def replay(run: MeasuredRun, overhead_s: float = 0.0) -> Run:
    """The simulated run."""
    requests = run.workload.requests
    contexts = context_spread(requests.input_tokens, requests.output_tokens, LARGEST_BATCH)
    step = ProfiledStep(LLAMA_BLOCKS, run.capture_sizes, contexts, overhead_s)
    law = compile_tabulated(profiled_law(run.profile, step))
    layout = Layout(tp=run.tp)
    pool = PoolDeployment("serve", run.name, layout, 1, run.chunk_tokens, run.batch_cap, VLLM)
    service = ServiceModel((PoolService(law, run.kv_tokens, PAGE_TOKENS),))
    return simulate(run.workload, Deployment("aggregated", (pool,), prefix_cache=run.prefix_cache), service)
