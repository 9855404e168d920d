"""One serving point that tests of validation vary: a user alone with Llama-3.3-70B on four H200."""

from __future__ import annotations

from llmopt_calibration.sources.serving_points import PointPool, ServingPoint
from llmopt_problems.deployment import Layout

POINT = ServingPoint(
    id="one",
    tier="A",
    model="Llama-3.3-70B",
    model_family="Llama-3.3-70B",
    moe=False,
    accelerator="H200-SXM",
    engine="vllm",
    engine_version="",
    weights="fp8",
    mode="aggregated",
    pools=(PointPool("serve", Layout(tp=4), 1),),
    shortest_input=1000,
    longest_input=1000,
    shortest_output=101,
    longest_output=101,
    concurrency=1,
    ttft_s=0.1,
    tpot_s=0.01,
    source="",
)
