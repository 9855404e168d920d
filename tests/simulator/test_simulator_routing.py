"""Routers choose as their papers say, one small case a rule; the twin checks them all together."""

from __future__ import annotations

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment, Routing
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import KvTransfer, ServiceModel, SimulationError, simulate

FAR_APART = 100.0
"""Seconds between requests that never meet."""


def prompts_of(words, gap_s: float = FAR_APART, block: int = 4) -> Workload:
    """A request a word, one letter a block of four tokens, and one token more."""
    names = {letter: index for index, letter in enumerate(sorted(set("".join(words))))}
    offsets = np.concatenate(([0], np.cumsum([len(word) for word in words])))
    ids = np.array([names[letter] for word in words for letter in word], np.int64)
    lengths = np.array([block * len(word) + 1 for word in words])
    ones = np.ones(len(words), np.int64)
    return Workload(Requests(np.arange(len(words)) * gap_s, lengths, ones, offsets, ids, block))


def ranks_of(make, work: Workload, router: str, layout=None, instances: int = 3, **rules: object):
    pool = PoolDeployment("serve", "x", layout or Layout(), instances, 64, 8)
    deployment = Deployment("aggregated", (pool,), router, routing=Routing(**rules))  # type: ignore[arg-type]
    service = ServiceModel((make.service(pool, 1000, 1, 1.0),))
    return simulate(work, deployment, service, 7).column("rank").tolist()


def test_cache_aware_follows_prefixes_and_else_takes_the_smallest_tree(make) -> None:
    """ABC goes to 0 (all trees are empty), D to 1, ABX follows ABC, E to 2, F to 1, which has 5 tokens."""
    words = ["ABC", "D", "ABX", "E", "F"]
    assert ranks_of(make, prompts_of(words), "cache_aware", cache_threshold=0.5) == [0, 1, 0, 2, 1]


def test_a_prefix_must_exceed_the_threshold(make) -> None:
    """Two blocks of three and a token: 8 / 13 of the input."""
    words = ["ABC", "ABX"]
    assert ranks_of(make, prompts_of(words), "cache_aware", cache_threshold=8 / 13 - 1e-9)[1] == 0
    assert ranks_of(make, prompts_of(words), "cache_aware", cache_threshold=8 / 13)[1] == 1


def test_out_of_balance_the_shortest_queue_wins_over_the_prefix(make) -> None:
    """Equal prompts at one moment: rank 0 takes them until it has more than two above the idle ones."""
    work = prompts_of(["AB"] * 4, gap_s=0.0)
    found = ranks_of(make, work, "cache_aware", balance_abs_threshold=2, balance_rel_threshold=1.0)
    assert found == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("most", "interval_s", "expected"), [(9, 10.0, [0, 1, 0]), (0, 0.0, [0, 1, 0]), (0, 10.0, [0, 0, 0])]
)
def test_trees_forget_what_is_beyond_their_size(make, most: int, interval_s: float, expected) -> None:
    """Prompts of 9 tokens: remembered where 9 fit or nothing is ever forgotten; else all trees are empty."""
    rules = {"max_tree_tokens": most, "eviction_interval_s": interval_s, "cache_threshold": 0.5}
    assert ranks_of(make, prompts_of(["AB", "CD", "AB"]), "cache_aware", **rules) == expected


def test_a_router_that_does_not_see_ranks_leaves_them_to_the_instance(make) -> None:
    """Two instances of three ranks: prefixes are of instances, and each gives its requests round."""
    words = ["AB", "CD", "AB", "AB", "AB", "CD"]
    layout = Layout(tp=3, dp=3)
    assert ranks_of(make, prompts_of(words), "cache_aware", layout, 2, dp_aware=False) == [0, 3, 1, 2, 0, 4]
    assert ranks_of(make, prompts_of(words), "round_robin", layout, 2, dp_aware=False) == [0, 3, 1, 4, 2, 5]
    with pytest.raises(SimulationError, match="chooses among ranks"):
        ranks_of(make, prompts_of(words), "kv_aware", layout, 2, dp_aware=False)


def test_random_routing_is_uniform(make) -> None:
    """Pearson's statistic of 3,000 draws over three ranks, below its 99.9th percentile (13.8)."""
    counts = np.bincount(ranks_of(make, prompts_of(["A"] * 3000), "random"), minlength=3)
    assert ((counts - 1000.0) ** 2 / 1000.0).sum() < 13.8


@pytest.mark.parametrize(
    ("policy", "expected"), [("round_robin", [0, 1, 2, 0, 1, 2]), ("shortest_queue", [0, 0, 0, 0, 0, 0])]
)
def test_decode_pools_have_a_policy_of_their_own(make, policy: str, expected: list[int]) -> None:
    """Requests that never meet: the shortest queue is always the first, turns go round."""
    front, back = (
        PoolDeployment(role, "x", Layout(), n, 64, 8) for role, n in (("prefill", 1), ("decode", 3))
    )
    deployment = Deployment("disaggregated", (front, back), routing=Routing(decode=policy))  # type: ignore[arg-type]
    services = tuple(make.service(pool, 1000, 1, 1.0) for pool in (front, back))
    run = simulate(prompts_of(["AB"] * 6), deployment, ServiceModel(services, KvTransfer(0.0, 1.0, 1e3, 1e3)))
    assert (run.column("decode_rank") - 1).tolist() == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("round_robin", [0, 1, 0, 1, 0, 1]),
        ("shortest_queue", [0, 1, 0, 1, 0, 1]),
        ("minimum_tokens", [0, 1, 1, 1, 1, 0]),
    ],
)
def test_an_instance_balances_its_ranks(make, policy: str, expected: list[int]) -> None:
    """A prompt of 60 tokens, then some of 20: with three of them the second rank has 59, with four 79.

    All meet: a step takes longer than they come.
    """
    work = make.workload(np.arange(6) * 1e-3, [60, 20, 20, 19, 20, 5], 3)
    rules = {"dp_aware": False, "dp_balance": policy}
    assert ranks_of(make, work, "round_robin", Layout(tp=2, dp=2), 1, **rules) == expected


def test_tokens_of_a_rank_grow_with_its_answers(make) -> None:
    """The first rank has 4 tokens and makes one each second; the second has 9 in prefill steps of a second.

    After five steps the first has the larger context.
    """
    work = make.workload([0.0, 0.5, 8.5], [4, 9, 1], [100, 1, 1])
    rules = {"dp_aware": False, "dp_balance": "minimum_tokens"}
    assert ranks_of(make, work, "round_robin", Layout(tp=2, dp=2), 1, **rules) == [0, 1, 1]
