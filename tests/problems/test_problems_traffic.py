"""Drawn requests against closed forms, and determinism."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from llmopt_problems.schema import Traffic
from llmopt_problems.traffic import Requests, sample, traffic_summary
from llmopt_problems.traffic.lengths import length_law

COUNT = 40_000
CONSTANT = {"distribution": "constant", "value": 500}
LENGTHS = [
    CONSTANT,
    {"distribution": "uniform", "min": 100, "max": 900},
    {"distribution": "lognormal", "mean": 700.0, "cv": 0.8},
    {"distribution": "exponential", "mean": 300.0, "max": 1500},
]
PREFIX = {"tokens": 200, "groups": 7, "share": 0.6}


def traffic(arrivals: dict[str, Any] | None = None, **sections: Any) -> Traffic:
    """Traffic with these sections, Poisson and constant where nothing is said."""
    defaults = {"input_tokens": CONSTANT, "output_tokens": CONSTANT}
    process = arrivals or {"process": "poisson", "rate": "5 req/s"}
    return Traffic.model_validate({"arrivals": process} | defaults | sections)


def within(sample_values: np.ndarray[Any, Any], mean: float, sigmas: float = 4.5) -> bool:
    """Whether the mean of independent values is as close to `mean` as chance allows."""
    error = sample_values.std() / np.sqrt(len(sample_values))
    return bool(abs(sample_values.mean() - mean) <= sigmas * error + 1e-12)


@pytest.mark.parametrize("length", LENGTHS, ids=lambda each: each["distribution"])
def test_drawn_lengths_have_the_moments_of_the_summary(length: dict[str, Any]) -> None:
    described = traffic(input_tokens=length, output_tokens=length)
    summary = traffic_summary(described)
    requests = sample(described, COUNT, seed=3).requests
    for drawn, mean, second, longest in (
        (
            requests.input_tokens,
            summary.mean_input_tokens,
            summary.second_moment_input_tokens,
            summary.max_input_tokens,
        ),
        (
            requests.output_tokens,
            summary.mean_output_tokens,
            summary.second_moment_output_tokens,
            summary.max_output_tokens,
        ),
    ):
        assert within(drawn, mean)
        assert within(np.square(drawn, dtype=np.float64), second)
        assert drawn.min() >= 1
        assert drawn.max() <= longest
    assert within(requests.input_tokens * requests.output_tokens, summary.mean_input_output_product)
    variance = summary.second_moment_input_tokens - summary.mean_input_tokens**2
    assert summary.scv_input_tokens == pytest.approx(variance / summary.mean_input_tokens**2, abs=1e-12)


@pytest.mark.parametrize(
    ("length", "law"),
    [
        (LENGTHS[2], stats.lognorm(np.sqrt(np.log(1.64)), scale=700 / np.sqrt(1.64))),
        (LENGTHS[3], stats.expon(scale=300)),
    ],
)
def test_length_laws_are_those_of_scipy_rounded_and_cut(length: dict[str, Any], law: Any) -> None:
    ours = length_law(traffic(input_tokens=length).input_tokens)  # type: ignore[arg-type]
    edges = np.arange(1, ours.longest) + 0.5
    expected = np.diff(np.concatenate(([0.0], law.cdf(edges), [1.0])))
    np.testing.assert_allclose(ours.probabilities, expected, rtol=1e-9, atol=1e-15)
    assert ours.probabilities.sum() == pytest.approx(1, abs=1e-12)


def test_uniform_moments_are_the_textbook_ones() -> None:
    summary = traffic_summary(traffic(input_tokens=LENGTHS[1]))
    assert summary.mean_input_tokens == pytest.approx(500)
    assert summary.second_moment_input_tokens - 500**2 == pytest.approx((801**2 - 1) / 12)


@pytest.mark.parametrize(
    ("arrivals", "law"),
    [
        ({"process": "poisson"}, stats.expon(scale=0.2)),
        ({"process": "gamma", "cv": 2.0}, stats.gamma(0.25, scale=0.8)),
        ({"process": "gamma", "cv": 0.5}, stats.gamma(4, scale=0.05)),
    ],
)
def test_gaps_follow_their_law(arrivals: dict[str, Any], law: Any) -> None:
    described = traffic(arrivals | {"rate": "5 req/s"})
    times = sample(described, COUNT, seed=11).requests.arrival_s
    gaps = np.diff(times, prepend=0.0)
    assert stats.kstest(gaps, law.cdf).pvalue > 1e-3
    assert traffic_summary(described).arrival_scv == pytest.approx(law.var() / law.mean() ** 2)


def test_deterministic_gaps_are_equal_and_a_closed_loop_has_none() -> None:
    even = traffic({"process": "deterministic", "rate": "4 req/s"})
    np.testing.assert_allclose(sample(even, 8, seed=1).requests.arrival_s, np.arange(1, 9) / 4)
    assert traffic_summary(even).arrival_scv == 0.0
    loop = traffic({"process": "closed_loop", "concurrency": 64})
    drawn, summary = sample(loop, 8, seed=1), traffic_summary(loop)
    assert drawn.concurrency == summary.concurrency == 64
    assert not drawn.requests.arrival_s.any()
    assert summary.request_rate_per_s is None
    assert summary.arrival_scv is None


@pytest.mark.parametrize("length", LENGTHS, ids=lambda each: each["distribution"])
def test_shared_prefixes_are_whole_blocks_of_one_group(length: dict[str, Any]) -> None:
    described = traffic(
        input_tokens=length, shared_prefix=PREFIX | {"tokens": 100 if length is LENGTHS[1] else 200}
    )
    tokens = described.shared_prefix.tokens  # type: ignore[union-attr]
    requests = sample(described, COUNT, seed=5).requests
    blocks = np.diff(requests.block_offsets)
    carried = blocks > 0
    assert np.all(blocks[carried] == np.minimum(tokens, requests.input_tokens[carried]) // 16)
    assert within(blocks * 16, traffic_summary(described).mean_shared_prefix_tokens)
    groups = requests.block_ids[requests.block_offsets[:-1][carried]] // (tokens // 16)
    assert stats.chisquare(np.bincount(groups, minlength=7)).pvalue > 1e-3
    for start, stop in list(zip(requests.block_offsets, requests.block_offsets[1:], strict=False))[:200]:
        ids = requests.block_ids[start:stop]
        assert np.all(np.diff(ids) == 1)
        assert len(ids) == 0 or ids[0] % (tokens // 16) == 0


def test_a_prefix_that_is_no_whole_number_of_blocks_counts_its_full_ones() -> None:
    described = traffic(shared_prefix={"tokens": 100})
    assert traffic_summary(described).mean_shared_prefix_tokens == 96
    assert traffic_summary(described, block_tokens=64).mean_shared_prefix_tokens == 64
    assert sample(described, 1, seed=1, block_tokens=64).requests.block_ids.tolist() == [0]


def _bytes(requests: Requests) -> list[bytes]:
    return [
        array.tobytes()
        for array in (
            requests.arrival_s,
            requests.input_tokens,
            requests.output_tokens,
            requests.block_offsets,
            requests.block_ids,
        )
    ]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    described = traffic(input_tokens=LENGTHS[2], output_tokens=LENGTHS[3], shared_prefix=PREFIX)
    first, again, other = (_bytes(sample(described, 500, seed).requests) for seed in (9, 9, 10))
    assert first == again
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


def test_each_purpose_has_a_stream_of_its_own() -> None:
    before = sample(traffic(input_tokens=LENGTHS[2], output_tokens=LENGTHS[3]), 500, seed=9).requests
    changed = traffic(
        {"process": "gamma", "rate": "9 req/s", "cv": 3.0}, input_tokens=LENGTHS[1], output_tokens=LENGTHS[3]
    )
    after = sample(changed, 500, seed=9).requests
    assert after.output_tokens.tobytes() == before.output_tokens.tobytes()
    assert after.arrival_s.tobytes() != before.arrival_s.tobytes()
    correlation = np.corrcoef(before.input_tokens, before.output_tokens)[0, 1]
    assert abs(correlation) < 4.5 / np.sqrt(500)


def test_mean_decode_context_is_what_stepping_through_requests_gives() -> None:
    described = traffic(
        input_tokens=LENGTHS[1], output_tokens={"distribution": "uniform", "min": 1, "max": 30}
    )
    requests = sample(described, 5000, seed=2).requests
    pairs = list(zip(requests.input_tokens.tolist(), requests.output_tokens.tolist(), strict=True))
    contexts = [inputs + step + 0.5 for inputs, outputs in pairs for step in range(outputs)]
    expected = traffic_summary(described).mean_decode_context_tokens
    assert np.mean(contexts) == pytest.approx(expected, rel=0.02)


def test_no_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample(traffic(), 0, seed=1)
