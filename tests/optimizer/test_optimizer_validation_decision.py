"""Choices against hand counts, margins against the pair left out, error bars against what they hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from llmopt_calibration.sources.serving_points import PointPool, ServingPoint
from llmopt_optimizer.validation.decision import (
    MARGINS,
    candidates,
    careful_decisions,
    plain_decisions,
    scored,
)
from llmopt_optimizer.validation.predict import Prediction
from llmopt_optimizer.validation.sections import bootstrap, decision_section, operators_section
from llmopt_problems.deployment import Layout

POINT = ServingPoint(
    id="",
    tier="A",
    model="Llama-3.3-70B",
    model_family="Llama-3.3-70B",
    moe=False,
    accelerator="H200-SXM",
    engine="vllm",
    engine_version="",
    weights="fp8",
    mode="aggregated",
    pools=(PointPool("serve", Layout(tp=1), 1),),
    shortest_input=1000,
    longest_input=1000,
    shortest_output=101,
    longest_output=101,
    concurrency=1,
    ttft_s=0.0,
    tpot_s=0.01,
    source="",
)


def curve(tpots: list[float], predicted: list[float]) -> pd.DataFrame:
    """Points with 1, 2, 4, … users; no TTFT, so that throughput is users over (100 TPOT)."""
    points = [replace(POINT, concurrency=2**n, tpot_s=tpot) for n, tpot in enumerate(tpots)]
    return candidates(points, [Prediction(0.0, tpot, "measured") for tpot in predicted])


def test_throughput_follows_littles_law() -> None:
    table = curve([0.01, 0.02], [0.01, 0.01])
    assert table["throughput"].tolist() == pytest.approx([101.0, 101.0])
    assert table["throughput_predicted"].tolist() == pytest.approx([101.0, 202.0])


def test_perfect_predictions_score_one() -> None:
    tpots = [0.010, 0.013, 0.019, 0.030, 0.052]
    assert plain_decisions(curve(tpots, tpots)).table["score"].tolist() == [1.0, 1.0, 1.0]


def test_a_pick_that_breaks_the_bound_scores_nothing() -> None:
    tpots = [0.010, 0.013, 0.019, 0.030, 0.052]
    table = plain_decisions(curve(tpots, [0.9 * tpot for tpot in tpots[:2]] + [0.012] + tpots[3:])).table
    at_median = table[table["quantile"] == 0.5]
    at_quarter = table[table["quantile"] == 0.25]
    assert at_median["score"].tolist() == [1.0]
    assert (at_quarter["score"].tolist(), at_quarter["broken"].tolist()) == ([0.0], [True])


def test_a_cautious_prediction_scores_the_share_that_it_reaches() -> None:
    tpots = [0.010, 0.013, 0.019, 0.030, 0.052]
    table = plain_decisions(curve(tpots, [1.2 * tpot for tpot in tpots])).table
    slower, best = 2 / 0.013, 4 / 0.019
    assert table.loc[table["quantile"] == 0.5, "score"].tolist() == pytest.approx([slower / best])


def test_predictions_that_fit_nowhere_are_counted() -> None:
    table = plain_decisions(curve([0.01, 0.02], [1.0, 1.0])).table
    assert table["empty"].all()
    assert table["score"].tolist() == [0.0, 0.0, 0.0]


def test_points_that_differ_in_more_than_layout_and_users_are_no_choice() -> None:
    other = replace(POINT, weights="bf16")
    assert candidates([POINT, other], [Prediction(0.0, 0.01)] * 2).empty
    wider = replace(POINT, pools=(PointPool("serve", Layout(tp=2), 1),))
    assert len(candidates([POINT, wider], [Prediction(0.0, 0.01)] * 2)) == 2


def test_an_unpredicted_point_is_never_picked() -> None:
    points = [POINT, replace(POINT, concurrency=8)]
    table = candidates(points, [Prediction(0.0, 0.01), Prediction(error="no room")])
    assert not plain_decisions(table).table["broken"].any()


def test_the_margin_of_a_pair_never_saw_it() -> None:
    """Two pairs are predicted 20% short; 4% more keeps the third point out of the bound of the second."""
    tpots = [0.010, 0.012, 0.0145, 0.018, 0.025]
    tables = []
    for name, factor in (("a", 0.8), ("b", 0.8), ("c", 1.0)):
        table = curve(tpots, [factor * tpot for tpot in tpots])
        tables.append(table.assign(pair=name, choice=name))
    whole = pd.concat(tables)
    found = careful_decisions(whole)
    assert found.margins[1] == 1.04
    right = found.table[found.table["pair"] == "c"]["score"].mean()
    assert right == pytest.approx(scored(tables[2], found.margins[1])["score"].mean())
    assert right < 1.0


def test_margins_begin_at_belief() -> None:
    assert MARGINS[0] == 1.0
    assert list(MARGINS) == sorted(MARGINS)


def test_an_error_bar_contains_the_mean_and_shrinks_with_pairs() -> None:
    rng = np.random.default_rng(7)

    def table(pairs: int) -> pd.DataFrame:
        errors = rng.uniform(0.0, 0.2, pairs * 20)
        names = np.repeat([f"p{n}" for n in range(pairs)], 20)
        return pd.DataFrame({"pair": names, "curve": np.arange(pairs * 20) // 5, "e": errors})

    few, many = table(3), table(40)
    bars = [bootstrap(few, "e"), bootstrap(many, "e")]
    for bar, data in zip(bars, (few, many), strict=True):
        assert bar[0] <= data.groupby("pair")["e"].mean().mean() <= bar[1]
    assert bars[1][1] - bars[1][0] < bars[0][1] - bars[0][0]


def test_equal_errors_have_no_error_bar() -> None:
    table = pd.DataFrame({"pair": ["a", "a", "b"], "curve": [1, 2, 3], "e": [0.1, 0.1, 0.1]})
    assert bootstrap(table, "e") == (pytest.approx(0.1), pytest.approx(0.1))


def test_sections_show_every_class_and_family() -> None:
    tpots = [0.010, 0.013, 0.019]
    decisions = plain_decisions(curve(tpots, tpots))
    assert "| all | 3 | 1.00 (1.00 to 1.00) |" in decision_section(decisions, decisions)
    section = operators_section(["H200-SXM"])
    assert "| gemm_bf16 | 8 |" in section
    assert "| moe_fp8_block | 12 |" in section
