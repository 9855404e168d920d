"""Laws of lengths: normal, Zipf and empirical against their definitions and against scipy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from llmopt_problems import ProblemError
from llmopt_problems.schema.lengths import LengthField
from llmopt_problems.traffic.lengths import LengthLaw, length_law

_LENGTH: TypeAdapter[Any] = TypeAdapter(LengthField)


def law(distribution: str, **options: Any) -> LengthLaw:
    """The law of a length section."""
    return length_law(_LENGTH.validate_python({"distribution": distribution} | options))


@pytest.mark.parametrize(
    "options",
    [
        {"mean": 400.0, "cv": 0.2},
        {"mean": 50.0, "cv": 1.5},
        {"mean": 300.0, "cv": 0.5, "min": 100, "max": 320},
        {"mean": 1000.0, "cv": 0.001, "min": 500},
    ],
)
def test_normal_lengths_are_a_truncated_normal(options: dict[str, Any]) -> None:
    ours = law("normal", **options)
    mean, deviation = options["mean"], options["mean"] * options["cv"]
    low, high = ours.first - 0.5, ours.longest + 0.5
    theirs = stats.truncnorm((low - mean) / deviation, (high - mean) / deviation, mean, deviation)
    expected = np.diff(theirs.cdf(np.arange(ours.first, ours.longest + 2) - 0.5))
    np.testing.assert_allclose(ours.probabilities, expected, rtol=1e-9, atol=1e-14)
    # Rounding moves no length by more than half a token.
    assert ours.moment(1) == pytest.approx(theirs.mean(), abs=0.5)
    assert ours.first == options.get("min", 1)
    assert ours.longest == options.get("max", np.ceil(mean * (1 + 6 * options["cv"])))


@pytest.mark.parametrize(("exponent", "least", "most"), [(0.0, 5, 9), (1.1, 1, 400), (2.5, 100, 5000)])
def test_zipf_weights_fall_with_the_rank(exponent: float, least: int, most: int) -> None:
    ours = law("zipf", exponent=exponent, min=least, max=most)
    weights = [rank**-exponent for rank in range(1, most - least + 2)]
    mean = sum(weight * (least + index) for index, weight in enumerate(weights)) / sum(weights)
    assert (ours.first, ours.longest) == (least, most)
    assert ours.moment(1) == pytest.approx(mean, rel=1e-12)
    assert ours.probabilities[0] / ours.probabilities[-1] == pytest.approx((most - least + 1) ** exponent)


def test_empirical_lengths_are_a_histogram() -> None:
    plain = law("empirical", values=[30, 10, 30, 20])
    assert plain.first == 10
    assert (plain.probabilities[0], plain.probabilities[10], plain.probabilities[20]) == (0.25, 0.25, 0.5)
    weighted = law("empirical", values=[10, 30], weights=[1.0, 3.0])
    assert weighted.moment(1) == pytest.approx(25.0)
    assert weighted.moment(2) == pytest.approx((100 + 3 * 900) / 4)
    drawn = weighted.draw(np.random.default_rng(1), 10_000)
    assert set(drawn.tolist()) == {10, 30}
    assert stats.chisquare(np.bincount(drawn)[[10, 30]], [2500, 7500]).pvalue > 1e-3


@pytest.mark.parametrize(
    "text", ["tokens,count\n10,1\n30,3\n", "10,1\n30,3", "10\n30\n30\n30\n", "length\n30,3\n10,1"]
)
def test_empirical_lengths_come_from_a_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "lengths.csv"
    file.write_text(text)
    assert law("empirical", file=str(file)).moment(1) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("text", "rule", "line", "column"),
    [
        ("tokens\n10\nten\n", "trace-number", 3, 1),
        ("10\n0\n", "trace-range", 2, 1),
        ("10,2\n20,-1\n", "empirical-weights", 2, 4),
        ("10,2\n20,nan\n", "empirical-weights", 2, 4),
        ("10,0\n", "empirical-source", 1, 1),
        ("tokens\n", "empirical-source", 1, 1),
        ("", "empirical-source", 1, 1),
    ],
)
def test_a_broken_file_of_lengths_is_found(
    tmp_path: Path, text: str, rule: str, line: int, column: int
) -> None:
    file = tmp_path / "lengths.csv"
    file.write_text(text)
    with pytest.raises(ProblemError) as caught:
        law("empirical", file=str(file))
    assert (caught.value.rule, caught.value.line, caught.value.column) == (rule, line, column)


def test_every_law_is_a_probability_and_picks_by_inversion() -> None:
    laws = [
        law("normal", mean=40.0, cv=0.4),
        law("zipf", exponent=1.3, max=60),
        law("empirical", values=[7, 9, 9]),
        law("lognormal", mean=30.0, cv=1.0),
    ]
    for each in laws:
        assert each.probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert np.all(each.probabilities >= 0)
        middles = np.cumsum(each.probabilities) - each.probabilities / 2
        likely = each.probabilities > 1e-12
        np.testing.assert_array_equal(each.pick(middles)[likely], each.first + np.flatnonzero(likely))
        assert each.up_to(each.longest + 5).sum() == pytest.approx(1, abs=1e-12)
        assert each.up_to(each.first).sum() == each.probabilities[0]
