"""Validation: loops against closed forms, cut loops against whole ones, scores against hand counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner
from validation_points import POINT

from llmopt_calibration.sources.serving_points import PointError, PointPool, read_serving_points
from llmopt_calibration.step import step_law
from llmopt_optimizer.cli.app import app
from llmopt_optimizer.validation import closed_loop
from llmopt_optimizer.validation.benches import Workshop, bench_key
from llmopt_optimizer.validation.closed_loop import closed_loop as requests_of
from llmopt_optimizer.validation.closed_loop import latencies, loop_latencies
from llmopt_optimizer.validation.predict import Prediction, predict, predict_rows, simulated
from llmopt_optimizer.validation.score import error_table, summary
from llmopt_optimizer.validation.service import deployment_of, service_of
from llmopt_problems.deployment import Layout
from llmopt_simulator import SimulationOptions, simulate

DEV_POINTS = Path(__file__).parents[3] / "shared" / "data" / "serving_points_dev.csv"


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


def test_one_user_meets_the_law_itself(workshop: Workshop) -> None:
    """Nobody else is there: a prefill step, then a hundred decode steps, straight from the expressions."""
    bench = workshop.bench(bench_key(POINT))
    law = step_law(bench.model, bench.accelerator, bench.precision, Layout(tp=4), bench.coefficients)
    s = law.symbols
    prompt = {s.b: 0, s.K: 0, s.p: 1000, s.A: 1000 * 1001 / 2, s.N: 1000, s.h: 1}
    ttft = float(law.seconds(decode=False).subs(prompt))
    decode = law.seconds(prefill=False)
    steps = [decode.subs({s.b: 1, s.K: 1001 + i, s.N: 1, s.h: 1, s.p: 0, s.A: 0}) for i in (0, 49, 50, 99)]
    found = simulated(workshop, POINT)
    assert found.ttft_s == pytest.approx(ttft, rel=1e-6)
    assert found.tpot_s == pytest.approx(float(sum(steps)) / 4, rel=2e-3)


def test_a_prediction_adds_the_engines_delay(workshop: Workshop) -> None:
    layer, bare, full = (
        workshop.bench(bench_key(POINT)).layer,
        simulated(workshop, POINT),
        predict(workshop, POINT),
    )
    assert layer.poll_steps(1) == 1  # vLLM looks for requests every step, and one user waits for nobody.
    added = layer.value("delay_steps") * bare.tpot_s + 1000 * layer.value("input_token_s")
    assert full.tpot_s == bare.tpot_s
    assert full.ttft_s == pytest.approx(bare.ttft_s + added)


def test_predictions_never_read_measurements() -> None:
    lies = replace(POINT, id="two", tier="C", ttft_s=99.0, tpot_s=9.0)
    wanted = replace(POINT, id="three", ttft_s=None, tpot_s=None)
    first, second, third = predict_rows([POINT, lies, wanted])
    assert first == second == third


@pytest.mark.parametrize("users", [300, 700])
def test_a_cut_loop_has_the_means_of_the_whole_loop(workshop: Workshop, users: int) -> None:
    point = replace(
        POINT,
        concurrency=users,
        shortest_input=819,
        longest_input=1024,
        shortest_output=205,
        longest_output=256,
    )
    deployment = deployment_of(point)
    service = service_of(workshop, point, deployment)
    assert closed_loop.rounds_of(users) == 4
    cut = loop_latencies(point, deployment, service)
    work = requests_of(point, closed_loop.ROUNDS, 0)
    whole = latencies(simulate(work, deployment, service, 0, SimulationOptions(warmup_fraction=0.0)), 10)
    assert cut.tpot_s == pytest.approx(whole.tpot_s, rel=0.03)
    assert cut.ttft_s == pytest.approx(whole.ttft_s, rel=0.12)


def test_the_loop_is_the_load_generators() -> None:
    point = replace(POINT, concurrency=8, shortest_input=819, longest_input=1024)
    work = requests_of(point, 10, 3)
    assert (len(work.requests), work.concurrency) == (80, 8)
    assert work.requests.input_tokens.min() >= 819
    assert work.requests.input_tokens.max() <= 1024
    assert np.array_equal(work.requests.input_tokens, requests_of(point, 10, 3).requests.input_tokens)


def test_a_longer_step_lengthens_every_token(workshop: Workshop) -> None:
    probed = simulated(Workshop(probe_step_s=1e-3), POINT)
    neutral = simulated(Workshop(probe_step_s=0.0), POINT)
    assert probed.tpot_s - neutral.tpot_s == pytest.approx(1e-3, rel=1e-6)
    assert probed.ttft_s - neutral.ttft_s == pytest.approx(1e-3, rel=1e-6)


def test_a_layout_that_no_engine_runs_is_an_error_not_a_number(workshop: Workshop) -> None:
    odd = replace(POINT, pools=(PointPool("serve", Layout(tp=3), 1),))
    found = predict(workshop, odd)
    assert found.tpot_s is None
    assert "heads" in found.error


def test_a_model_that_does_not_fit_is_an_error_not_a_number(workshop: Workshop) -> None:
    large = replace(POINT, model="Llama-3.1-405B", pools=(PointPool("serve", Layout(tp=2), 1),))
    found = predict(workshop, large)
    assert (found.ttft_s, found.basis) == (None, None)
    assert "leaves no room" in found.error


def test_scores_are_averaged_over_pairs_not_rows() -> None:
    other = replace(POINT, model_family="other", tpot_s=0.01)
    rows = [POINT, replace(POINT, concurrency=2), replace(POINT, concurrency=4), other]
    predictions = [Prediction(0.1, 0.01 * ratio, "measured") for ratio in (1.1, 1.1, 1.1, 0.5)]
    table = summary(error_table(rows, predictions), ("tier",))
    line = table.loc["A"].iloc[0]
    assert line["tpot_mape"] == pytest.approx((0.1 + 0.5) / 2)
    assert line["tpot_shape"] == pytest.approx(0.0, abs=1e-12)
    assert line["ttft_mape"] == pytest.approx(0.0, abs=1e-12)
    assert (line["rows"], line["pairs"], line["coverage"]) == (4, 2, 1)


def test_shape_errors_are_what_one_scale_leaves() -> None:
    rows = [replace(POINT, concurrency=users) for users in (1, 2, 4)]
    predictions = [Prediction(0.1, 0.01 * ratio, "measured") for ratio in (0.8, 1.0, 1.5)]
    table = error_table(rows, predictions)
    assert table["tpot_shape"].tolist() == pytest.approx([0.2, 0.0, 0.5])


def test_the_command_writes_every_row_and_says_why_not(tmp_path: Path) -> None:
    header = "id,tier,mode,model_path,system,backend,precision,isl,osl,concurrency,gpus,tp,ttft_ms,tpot_ms"
    good = "a,A,agg,meta-llama/Llama-3.3-70B-Instruct,h200_sxm,vllm,fp8,1024,256,4,4,4,90,10"
    bad = "b,A,agg,acme/unknown,h200_sxm,vllm,fp8,1024,256,4,4,4,90,10"
    source, out = tmp_path / "points.csv", tmp_path / "new" / "predictions.csv"
    source.write_text(f"{header}\n{good}\n{bad}\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["validate", str(source), "--out", str(out)], catch_exceptions=False)
    assert ran.exit_code == 0
    written = pd.read_csv(out, keep_default_na=False)
    assert list(written.columns) == [
        *header.split(","),
        "ttft_ms_predicted",
        "tpot_ms_predicted",
        "basis",
        "error",
    ]
    assert 5 < float(written["tpot_ms_predicted"][0]) < 20
    assert written["basis"][0] in ("measured", "transferred", "default")
    assert (written["tpot_ms_predicted"][1], written["error"][0]) == ("", "")
    assert "acme/unknown" in written["error"][1]


@pytest.mark.parametrize("text", ["id,tier\n1,A\n", None])
def test_a_file_that_is_no_table_is_bad_input(tmp_path: Path, text: str | None) -> None:
    source = tmp_path / "points.csv"
    if text is not None:
        source.write_text(text, encoding="utf-8")
    ran = CliRunner().invoke(app, ["validate", str(source), "--out", str(tmp_path / "out.csv")])
    assert ran.exit_code == 2
    assert "points.csv" in ran.stderr


@pytest.mark.skipif(
    not DEV_POINTS.is_file(), reason="no ../shared/data/serving_points_dev.csv beside the checkout"
)
def test_dense_points_stay_within_the_errors_that_the_accuracy_page_states() -> None:
    """A regression bound on points that development looked at, not evidence about unseen ones."""
    rows = [
        row
        for row in read_serving_points(DEV_POINTS).rows
        if not isinstance(row, PointError) and row.tier == "A" and row.kind == "dense"
    ]
    line = summary(error_table(rows, predict_rows(rows, processes=1)), ("kind",)).iloc[0]
    assert line["coverage"] == 1
    assert line["tpot_mape"] < 0.10
    assert line["tpot_shape"] < 0.08
    assert line["ttft_mape"] < 0.35
