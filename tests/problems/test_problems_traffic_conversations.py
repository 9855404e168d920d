"""Conversations and classes: the law of turns against enumeration and drawing, and what turns share."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import stats

from llmopt_problems import ProblemError
from llmopt_problems.schema import Traffic
from llmopt_problems.traffic import Requests, Workload, longest_request, sample, traffic_summary
from llmopt_problems.traffic.reuse import infinite_cache_hits

COUNT = 20_000
POISSON = {"process": "poisson", "rate": "5 req/s"}
TALK: dict[str, Any] = {
    "turns": {"distribution": "zipf", "exponent": 1.0, "max": 8},
    "think_time": "10 s",
    "follow_up_tokens": {"distribution": "uniform", "min": 5, "max": 60},
    "max_input_tokens": 700,
}
INPUTS = {"distribution": "lognormal", "mean": 150.0, "cv": 0.7, "max": 900}
OUTPUTS = {"distribution": "uniform", "min": 1, "max": 120}
PREFIX = {"tokens": 100, "groups": 5, "share": 0.7, "zipf_exponent": 1.0}


def chat(talk: dict[str, Any] | None = None, **sections: Any) -> Traffic:
    """Traffic of conversations."""
    defaults = {"arrivals": POISSON, "input_tokens": INPUTS, "output_tokens": OUTPUTS}
    return Traffic.model_validate(defaults | {"conversation": TALK | (talk or {})} | sections)


def within(
    values: np.ndarray[Any, Any], mean: float, groups: np.ndarray[Any, Any], sigmas: float = 4.5
) -> bool:
    """Whether the mean is as close to `mean` as chance allows when members of a group go together."""
    sums = np.bincount(groups, values - mean)
    return bool(abs(sums.sum()) <= sigmas * np.sqrt(np.square(sums).sum()) + 1e-9)


def sessions(workload: Workload) -> np.ndarray[Any, Any]:
    """The conversation of each request, from the links to predecessors."""
    found = np.arange(len(workload.requests))
    assert workload.follows is not None
    for index, before in enumerate(workload.follows.tolist()):
        if before >= 0:
            found[index] = found[before]
    return found


def _chances(values: dict[int, Fraction]) -> dict[str, Any]:
    return {
        "distribution": "empirical",
        "values": list(values),
        "weights": [float(weight) for weight in values.values()],
    }


def test_the_law_of_turns_is_that_of_enumerating_conversations() -> None:
    half, third = Fraction(1, 2), Fraction(1, 3)
    firsts, follow_ups = {3: half, 5: half}, {1: third, 2: 1 - third}
    answers, turns = {2: third, 4: 1 - third}, {1: Fraction(1, 4), 3: Fraction(3, 4)}
    limit, block = 12, 2
    sums = dict.fromkeys(("turns", "square", "input", "input2", "shared", "product", "output"), Fraction(0))
    longest = 0
    for many, first in itertools.product(turns, firsts):
        steps = itertools.product(itertools.product(answers, follow_ups), repeat=many)
        for path in steps:
            chance = turns[many] * firsts[first]
            for answer, message in path:
                chance *= answers[answer] * follow_ups[message]
            tokens, sent, before = first, 0, 0
            for answer, message in path:
                if tokens > limit:
                    break
                sent += 1
                longest = max(longest, tokens)
                sums["input"] += chance * tokens
                sums["input2"] += chance * tokens**2
                sums["product"] += chance * tokens * answer
                sums["shared"] += chance * (max(before - 1, 0) // block * block)
                before = tokens + answer
                tokens = before + message
            sums["turns"] += chance * sent
            sums["square"] += chance * sent**2
    talk = {
        "turns": _chances(turns),
        "follow_up_tokens": _chances(follow_ups),
        "max_input_tokens": limit,
        "think_time": "0 s",
    }
    described = chat(talk, input_tokens=_chances(firsts), output_tokens=_chances(answers))
    summary = traffic_summary(described, block_tokens=block)
    mean = {name: float(value / sums["turns"]) for name, value in sums.items()}
    assert summary.classes[0].mean_turns == pytest.approx(float(sums["turns"]), rel=1e-12)
    assert summary.mean_input_tokens == pytest.approx(mean["input"], rel=1e-12)
    assert summary.second_moment_input_tokens == pytest.approx(mean["input2"], rel=1e-12)
    assert summary.mean_shared_prefix_tokens == pytest.approx(mean["shared"], rel=1e-12)
    assert summary.mean_input_output_product == pytest.approx(mean["product"], rel=1e-12)
    assert summary.max_input_tokens == longest
    # Poisson conversations: the dispersion of the counts is E[T²]/E[T].
    assert summary.arrival_dispersion == pytest.approx(mean["square"], rel=1e-12)


def test_drawn_turns_have_the_moments_of_the_summary() -> None:
    described = chat(shared_prefix=PREFIX)
    drawn, summary = sample(described, COUNT, 2), traffic_summary(described)
    requests, groups = drawn.requests, sessions(drawn)
    inputs, outputs = requests.input_tokens.astype(float), requests.output_tokens.astype(float)
    assert within(inputs, summary.mean_input_tokens, groups)
    assert within(inputs**2, summary.second_moment_input_tokens, groups)
    assert within(outputs, summary.mean_output_tokens, groups)
    assert within(inputs * outputs, summary.mean_input_output_product, groups)
    assert inputs.max() <= summary.max_input_tokens <= 700
    assert longest_request(described) == summary.max_input_tokens + 120
    # The rate is that of requests, from the start on: conversations were under way before.
    assert summary.request_rate_per_s == 5.0
    dispersion = summary.arrival_dispersion
    assert dispersion is not None
    for part in (COUNT // 10, COUNT):
        error = 4.5 * np.sqrt(dispersion / part)
        assert part / requests.arrival_s[part - 1] == pytest.approx(5.0, rel=error)


def test_the_gaps_of_conversations_have_the_estimated_scv() -> None:
    described = chat({"think_time": "100 ms"})
    parts = [np.diff(sample(described, COUNT, seed).requests.arrival_s) for seed in range(4)]
    found = np.mean([gaps.var() / gaps.mean() ** 2 for gaps in parts])
    assert traffic_summary(described).arrival_scv == pytest.approx(found, rel=0.04)
    # Pauses far longer than gaps: turns of many conversations mix into a Poisson process.
    assert traffic_summary(chat({"think_time": "300 s"})).arrival_scv == pytest.approx(1.0, abs=0.03)


def test_a_turn_extends_the_turn_before() -> None:
    drawn = sample(chat(shared_prefix=PREFIX), 3000, 4)
    requests, follows, think_s = drawn.requests, drawn.follows, drawn.think_s
    assert follows is not None
    assert think_s is not None
    later = np.flatnonzero(follows >= 0)
    assert len(later) > 1000
    before = follows[later]
    assert np.all(before < later)
    assert len(np.unique(before)) == len(before)
    grown = requests.input_tokens[later] - requests.input_tokens[before] - requests.output_tokens[before]
    assert grown.min() >= 5
    assert grown.max() <= 60
    np.testing.assert_allclose(
        requests.arrival_s[later] - requests.arrival_s[before], think_s[later], atol=1e-9
    )
    assert not think_s[follows < 0].any()
    for index, previous in zip(later.tolist(), before.tolist(), strict=True):
        mine, theirs = _ids(requests, index), _ids(requests, previous)
        assert len(mine) == requests.input_tokens[index] // 16
        assert mine[: len(theirs)] == theirs


def _ids(requests: Requests, index: int) -> list[int]:
    return requests.block_ids[requests.block_offsets[index] : requests.block_offsets[index + 1]].tolist()


def test_ids_are_chained_and_conversations_share_nothing_but_prefixes() -> None:
    drawn = sample(chat(shared_prefix=PREFIX), 3000, 4)
    groups, requests = sessions(drawn), drawn.requests
    parents: dict[int, int] = {}
    owners: dict[int, set[int]] = {}
    for index in range(len(requests)):
        ids = _ids(requests, index)
        for above, block in itertools.pairwise([-1, *ids]):
            assert parents.setdefault(block, above) == above
        for position, block in enumerate(ids):
            if position >= 100 // 16:
                owners.setdefault(block, set()).add(int(groups[index]))
    shared = [owner for owner in owners.values() if len(owner) > 1]
    assert not shared
    assert min(parents) >= 0


def test_turns_hit_what_the_turn_before_sent() -> None:
    described = chat({"turns": {"distribution": "constant", "value": 3}, "max_input_tokens": 5000})
    drawn = sample(described, 4000, 4)
    follows = drawn.follows
    assert follows is not None
    hits = infinite_cache_hits(drawn.requests)
    later = np.flatnonzero(follows >= 0)
    # Requests bring the blocks of their inputs; what an answer adds is known to engines that keep answers.
    np.testing.assert_array_equal(hits[later], drawn.requests.input_tokens[follows[later]] // 16 * 16)
    kept = (drawn.requests.input_tokens + drawn.requests.output_tokens - 1)[follows[later]] // 16 * 16
    first = follows < 0
    expected = traffic_summary(described).mean_shared_prefix_tokens
    # Two of three turns are later ones; conversations under way at time 0 have no predecessor here.
    assert kept.mean() * 2 / 3 == pytest.approx(expected, rel=0.03)
    assert first.sum() >= 4000 / 3


def test_shared_prefixes_follow_zipf() -> None:
    prefix = {"tokens": 64, "groups": 6, "zipf_exponent": 1.5, "share": "80 %"}
    described = Traffic.model_validate(
        {
            "arrivals": POISSON,
            "input_tokens": OUTPUTS | {"min": 64},
            "output_tokens": OUTPUTS,
            "shared_prefix": prefix,
        }
    )
    requests = sample(described, COUNT, 3).requests
    carried = np.diff(requests.block_offsets) > 0
    groups = requests.block_ids[requests.block_offsets[:-1][carried]] // 4
    weights = np.arange(1, 7) ** -1.5
    assert stats.chisquare(np.bincount(groups), weights / weights.sum() * carried.sum()).pvalue > 1e-3
    assert stats.binomtest(int(carried.sum()), COUNT, 0.8).pvalue > 1e-3
    assert traffic_summary(described).mean_shared_prefix_tokens == pytest.approx(0.8 * 64)


CLASSES: list[dict[str, Any]] = [
    {
        "name": "chat",
        "share": 0.5,
        "input_tokens": INPUTS,
        "output_tokens": OUTPUTS,
        "conversation": TALK,
        "shared_prefix": PREFIX,
    },
    {
        "name": "code",
        "share": "30 %",
        "input_tokens": {"distribution": "uniform", "min": 900, "max": 1100},
        "output_tokens": {"distribution": "constant", "value": 7},
        "shared_prefix": {"tokens": 640, "groups": 3},
    },
    {
        "name": "batch",
        "share": 0.2,
        "input_tokens": {"distribution": "constant", "value": 40},
        "output_tokens": {"distribution": "exponential", "mean": 300.0},
    },
]


def test_classes_mix_by_their_shares() -> None:
    described = Traffic.model_validate({"arrivals": POISSON, "classes": CLASSES})
    drawn, summary = sample(described, COUNT, 1), traffic_summary(described)
    requests, groups = drawn.requests, sessions(drawn)
    ids = requests.class_ids
    assert ids is not None
    assert [each.name for each in summary.classes] == ["chat", "code", "batch"]
    for index, (share, each) in enumerate(zip((0.5, 0.3, 0.2), summary.classes, strict=True)):
        mine = ids == index
        assert each.share == share
        assert within(mine.astype(float), share, groups)
        assert within(requests.input_tokens[mine].astype(float), each.mean_input_tokens, groups[mine])
        assert within(requests.output_tokens[mine].astype(float), each.mean_output_tokens, groups[mine])
        assert requests.input_tokens[mine].max() <= each.max_input_tokens
    inputs = requests.input_tokens.astype(float)
    assert within(inputs, summary.mean_input_tokens, groups)
    assert within(inputs**2, summary.second_moment_input_tokens, groups)
    assert within(inputs * requests.output_tokens, summary.mean_input_output_product, groups)
    assert summary.max_output_tokens == 3000
    assert drawn.follows is not None
    assert np.all(ids[drawn.follows >= 0] == 0)


def test_classes_have_prefixes_of_their_own() -> None:
    described = Traffic.model_validate({"arrivals": POISSON, "classes": CLASSES})
    requests = sample(described, 3000, 1).requests
    assert requests.class_ids is not None
    seen: list[set[int]] = [set(), set(), set()]
    for index, kind in enumerate(requests.class_ids.tolist()):
        seen[kind].update(_ids(requests, index))
    assert not seen[0] & seen[1]
    assert not seen[2]
    assert len(seen[1]) == 3 * 640 // 16
    code = np.diff(requests.block_offsets)[requests.class_ids == 1]
    assert set(code.tolist()) == {40}


def test_one_class_is_the_same_as_none() -> None:
    lengths = {"input_tokens": INPUTS, "output_tokens": OUTPUTS, "shared_prefix": PREFIX}
    plain = Traffic.model_validate({"arrivals": POISSON} | lengths)
    one = Traffic.model_validate({"arrivals": POISSON, "classes": [{"name": "all", "share": 1.0} | lengths]})
    mine, theirs = sample(plain, 500, 3).requests, sample(one, 500, 3).requests
    assert mine.arrival_s.tobytes() == theirs.arrival_s.tobytes()
    assert mine.input_tokens.tobytes() == theirs.input_tokens.tobytes()
    assert mine.block_ids.tobytes() == theirs.block_ids.tobytes()
    assert theirs.class_ids is None


def test_conversations_are_the_same_from_the_same_seed() -> None:
    described = Traffic.model_validate({"arrivals": POISSON, "classes": CLASSES})
    first, again, other = (sample(described, 400, seed) for seed in (8, 8, 9))
    assert _bytes(first) == _bytes(again)
    assert all(mine != theirs for mine, theirs in zip(_bytes(first), _bytes(other), strict=True))


def _bytes(workload: Workload) -> list[bytes]:
    requests = workload.requests
    arrays = (
        requests.arrival_s,
        requests.input_tokens,
        requests.output_tokens,
        requests.block_ids,
        requests.class_ids,
        workload.think_s,
        workload.follows,
    )
    return [array.tobytes() for array in arrays if array is not None]


def test_messages_that_are_all_too_long_are_refused() -> None:
    described = chat({"max_input_tokens": 50}, input_tokens={"distribution": "constant", "value": 100})
    for ask in (traffic_summary, lambda traffic: sample(traffic, 5, 1)):
        with pytest.raises(ProblemError, match="longer than max_input_tokens"):
            ask(described)
