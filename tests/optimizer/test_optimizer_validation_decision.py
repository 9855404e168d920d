"""Choices against hand counts, margins against the pair left out, error bars against what they hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from validation_points import POINT

from llmopt_calibration.sources.serving_points import PointPool
from llmopt_optimizer.validation.decision import (
    CAUTIONS,
    candidates,
    careful_decisions,
    plain_decisions,
)
from llmopt_optimizer.validation.predict import Prediction
from llmopt_optimizer.validation.sections import bootstrap, decision_section, operators_section
from llmopt_problems.deployment import Layout

ALONE = replace(POINT, id="", pools=(PointPool("serve", Layout(tp=1), 1),), ttft_s=0.0)


def curve(tpots: list[float], predicted: list[float]) -> pd.DataFrame:
    """Points with 1, 2, 4, … users; no TTFT, so that throughput is users over (100 TPOT)."""
    points = [replace(ALONE, concurrency=2**n, tpot_s=tpot) for n, tpot in enumerate(tpots)]
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
    other = replace(ALONE, weights="bf16")
    assert candidates([ALONE, other], [Prediction(0.0, 0.01)] * 2).empty
    wider = replace(ALONE, pools=(PointPool("serve", Layout(tp=2), 1),))
    assert len(candidates([ALONE, wider], [Prediction(0.0, 0.01)] * 2)) == 2


def test_an_unpredicted_point_is_never_picked() -> None:
    points = [ALONE, replace(ALONE, concurrency=8)]
    table = candidates(points, [Prediction(0.0, 0.01), Prediction(error="no room")])
    assert not plain_decisions(table).table["broken"].any()


def tables_of(factors: dict[str, float]) -> pd.DataFrame:
    """A pair a name, all of the same curve, predicted that factor of the truth."""
    tpots = [0.010, 0.012, 0.0145, 0.018, 0.025]
    tables = [
        curve(tpots, [factor * tpot for tpot in tpots]).assign(pair=name, choice=name)
        for name, factor in factors.items()
    ]
    return pd.concat(tables)


def test_the_errors_of_other_pairs_keep_a_choice_from_breaking_its_bound() -> None:
    """All pairs are predicted a fifth short: believed, points above the two tighter bounds are picked."""
    table = tables_of({"a": 0.78, "b": 0.79, "c": 0.80})
    assert plain_decisions(table).table["broken"].sum() == 6
    careful = careful_decisions(table).table
    assert not careful["broken"].any()
    assert (careful["score"] > 0.5).all()


def test_the_errors_of_a_pair_are_none_of_its_own_evidence() -> None:
    """The only pair that is predicted short is believed to be right, as the others are, and breaks bounds."""
    table = careful_decisions(tables_of({"a": 1.0, "b": 1.0, "odd": 0.8})).table
    assert table.loc[table["pair"] == "odd", "broken"].tolist() == [True, True, False]
    assert not table.loc[table["pair"] != "odd", "broken"].any()


def test_cautions_begin_at_the_expected_score() -> None:
    assert CAUTIONS[0] == 1.0
    assert list(CAUTIONS) == sorted(CAUTIONS)


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
