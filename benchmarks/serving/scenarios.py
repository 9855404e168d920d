"""The scenarios: CodeLlama-34B on A100 at TP 2 with chunks of 512 tokens, and the traffic for it.

Lengths are those of Azure's conversations of 2023 where `../shared/data/traces` is there, no longer than 4096
tokens together (as Vidur cuts them: the input gives way). Elsewhere a log-normal of the same means stands in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_calibration import coefficients
from llmopt_calibration.compiled import compile_step
from llmopt_calibration.step import Precision, StepLaw, step_law
from llmopt_problems import catalog
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment, RouterPolicy
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import PoolService, ServiceModel, step_bounds

TRACE: Final = Path(__file__).parents[2].parent / "shared/data/traces/AzureLLMInferenceTrace2023_conv.csv"
RATE_PER_S: Final = 2.0
"""Of requests, for each instance."""
KV_TOKENS: Final = 16 * 27_904
"""KV cache of an instance: the blocks that Vidur gives it."""

_LONGEST: Final = 4096
_BLOCK_TOKENS: Final = 16
_PREFIX_GROUPS: Final = 1000
_PREFIX_BLOCKS: Final = (8, 64)
_STAND_IN: Final = (
    (1155.0, 1109.0),
    (211.0, 163.0),
)  # mean and deviation of the inputs and outputs of the trace

Lengths = NDArray[np.int64]
"""Shape (n, 2): input and output tokens."""


def pool(instances: int = 1) -> PoolDeployment:
    """The pool: vLLM's mixing, 512 tokens a step, 128 requests a batch."""
    return PoolDeployment("serve", "A100-80GB", Layout(tp=2), instances, 512, 128)


def law(model: str = "CodeLlama-34B", accelerator: str = "A100-80GB") -> StepLaw:
    """The step law of a model on an accelerator at TP 2."""
    fitted, hardware = coefficients.load(accelerator, "vllm"), catalog.accelerator(accelerator)
    return step_law(catalog.model(model), hardware, Precision("bf16", "bf16"), Layout(tp=2), fitted)


def service(of: StepLaw) -> ServiceModel:
    """A step law compiled for the pool."""
    bounds = step_bounds(pool())
    step = compile_step(of, bounds.rank_tokens, bounds.engine_tokens, bounds.batch)
    return ServiceModel((PoolService(step, KV_TOKENS, 16),))


def deployment(
    instances: int = 1, router: RouterPolicy = "shortest_queue", *, prefix_cache: bool = False
) -> Deployment:
    """Equal instances behind one router."""
    return Deployment("aggregated", (pool(instances),), router, prefix_cache)


def measured_lengths() -> Lengths | None:
    """The lengths of the trace, or None where there is no trace."""
    if not TRACE.is_file():
        return None
    table = np.loadtxt(TRACE, np.int64, delimiter=",", skiprows=1, usecols=(1, 2))
    outputs = np.clip(table[:, 1], 1, _LONGEST - 1)
    return np.column_stack([np.clip(table[:, 0], 1, _LONGEST - outputs), outputs])


def lengths(count: int, rng: np.random.Generator) -> Lengths:
    """Lengths of `count` requests, drawn from the trace or its stand-in."""
    table = measured_lengths()
    if table is not None:
        return table[rng.integers(0, len(table), count)]
    columns = []
    for mean, deviation in _STAND_IN:
        spread = np.log1p((deviation / mean) ** 2)
        columns.append(rng.lognormal(np.log(mean) - spread / 2, np.sqrt(spread), count))
    return np.clip(np.column_stack(columns), 1, _LONGEST // 2).astype(np.int64)


def conversations(count: int, seed: int = 1) -> Workload:
    """Poisson requests that share nothing."""
    rng = np.random.default_rng(seed)
    tokens = lengths(count, rng)
    arrival_s = np.cumsum(rng.exponential(1.0 / RATE_PER_S, count))
    nothing = np.zeros(count + 1, np.int64), np.zeros(0, np.int64)
    return _workload(arrival_s, tokens, *nothing)


def shared_prefixes(count: int, instances: int, seed: int = 1) -> Workload:
    """Poisson requests for `instances`; each begins with the prompt of one of a thousand applications.

    Prompts have 128 to 1024 tokens, and the applications are asked for by Zipf's law: together they are about
    as large as one instance's cache, so where a request goes decides what it finds.
    """
    rng = np.random.default_rng(seed)
    tokens = lengths(count, rng)
    blocks = rng.integers(*_PREFIX_BLOCKS, _PREFIX_GROUPS)
    shares = 1.0 / np.arange(1.0, _PREFIX_GROUPS + 1.0)
    group = np.searchsorted(np.cumsum(shares) / shares.sum(), rng.random(count))
    used = np.minimum(blocks[group], tokens[:, 0] // _BLOCK_TOKENS)
    offsets = np.concatenate([[0], np.cumsum(used)])
    first = (np.cumsum(blocks) - blocks)[group]
    ids = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - first, used)
    arrival_s = np.cumsum(rng.exponential(1.0 / (RATE_PER_S * instances), count))
    return _workload(arrival_s, tokens, offsets, ids)


def _workload(
    arrival_s: NDArray[np.float64],
    tokens: Lengths,
    offsets: NDArray[np.int64],
    ids: NDArray[np.int64],
) -> Workload:
    inputs, outputs = (np.ascontiguousarray(column) for column in tokens.T)
    return Workload(Requests(arrival_s, inputs, outputs, offsets, ids, _BLOCK_TOKENS))
