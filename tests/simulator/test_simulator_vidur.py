"""Against a peer: Vidur's runs, restarts included, request by request to a nanosecond.

The step law is Vidur's own latency tables, the policy its Sarathi scheduler said in our options. The runs are
measured data that a checkout may not have (`../shared/data/vidur_runs`, see its README).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmopt_calibration.tabulated import VidurConstants, compile_tabulated, vidur_law
from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_simulator import PoolService, Run, ServiceModel, simulate

RUNS = Path(__file__).parents[2].parent / "shared" / "data" / "vidur_runs"
SARATHI = Scheduling(growth=KvGrowth(conservativeness=0.0, watermark=0.01, spare_page=True))
TOLERANCE_S = 1e-9


def replay(make, name: str) -> tuple[Run, pd.DataFrame]:
    """Our run of the trace, and Vidur's times."""
    if not (RUNS / name).is_dir():
        pytest.skip(f"no measured data at {RUNS / name}")
    theirs = pd.read_csv(RUNS / name / "requests_abs.csv").sort_values("id")
    trace = pd.read_csv(RUNS / name / "trace_in.csv")
    summary = json.loads((RUNS / name / "summary.json").read_text())
    constants = VidurConstants(summary["const"]["layers_per_stage"])
    with np.load(RUNS / name / "tables.npz") as tables:
        step = compile_tabulated(vidur_law(tables, constants))
    pool = PoolDeployment("serve", "A100", Layout(tp=2), 1, 512, 128, SARATHI)
    service = PoolService(step, 16 * int(summary["num_blocks"]), 16)
    workload = make.workload(trace.arrived_at, trace.num_prefill_tokens, trace.num_decode_tokens)
    deployment = Deployment("aggregated", (pool,), prefix_cache=False)
    return simulate(workload, deployment, ServiceModel((service,))), theirs


@pytest.mark.parametrize(("name", "restarts"), [("s1", 0), ("s4", 40)])
def test_every_request_of_vidur_to_a_nanosecond(make, name: str, restarts: int) -> None:
    run, theirs = replay(make, name)
    assert run.finished.all()
    for column, field in (
        ("arrived_at", "arrival_s"),
        ("scheduled_at", "admitted_s"),
        ("prefill_completed_at", "first_token_s"),
        ("completed_at", "finish_s"),
    ):
        np.testing.assert_allclose(
            run.column(field), theirs[column].to_numpy(), rtol=0.0, atol=TOLERANCE_S, err_msg=column
        )
    assert run.column("retractions").tolist() == theirs["num_restarts"].tolist()
    assert int(run.state.world["retractions"][0]) == restarts
