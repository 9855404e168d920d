"""Error bars: probabilities against counts, pairs of one weight, quantiles as the inverse."""

from __future__ import annotations

import numpy as np
import pytest

from llmopt_calibration.engine.error_bars import error_distribution

RATIOS = np.array([1.2, 0.9, 1.0, 1.1])
ONE_PAIR = np.array(["a"] * 4)


def test_probabilities_count_the_ratios() -> None:
    found = error_distribution(RATIOS, ONE_PAIR)
    assert found.probability_below(RATIOS) == pytest.approx([1.0, 0.25, 0.5, 0.75])
    assert found.probability_below([0.5, 9.0]) == pytest.approx([0.0, 1.0])


def test_every_pair_weighs_the_same() -> None:
    many = np.concatenate([np.full(99, 1.5), [0.8]])
    found = error_distribution(many, np.array(["many"] * 99 + ["one"]))
    assert found.probability_below(0.8) == pytest.approx(0.5)


def test_a_quantile_is_kept_with_its_probability() -> None:
    rng = np.random.default_rng(3)
    ratio = np.exp(rng.normal(0.0, 0.1, 4000))
    found = error_distribution(ratio, np.array(["a", "b"] * 2000))
    for probability in (0.1, 0.5, 0.9):
        margin = found.quantile(probability)
        assert (ratio <= margin).mean() == pytest.approx(probability, abs=2e-3)
        assert found.probability_below(margin) == pytest.approx(probability, abs=1e-9)
