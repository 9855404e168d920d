"""What the prefix cache keeps: eviction policies, chunks that can be hit at once, answers for later turns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmopt_problems.deployment import Caching, Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import HostTier, ServiceModel, metrics, simulate


def requests_of(arrivals, prompts, outputs, block: int = 4) -> Requests:
    """Requests by the names of their blocks, one letter a block; a tail of one token ends each."""
    names = {letter: index for index, letter in enumerate(sorted({x for p in prompts for x in p}))}
    lengths = np.array([block * len(prompt) + 1 for prompt in prompts])
    offsets = np.concatenate(([0], np.cumsum([len(prompt) for prompt in prompts])))
    ids = np.array([names[letter] for prompt in prompts for letter in prompt], np.int64)
    return Requests(np.asarray(arrivals, float), lengths, np.asarray(outputs), offsets, ids, block)


def run(make, workload: Workload, capacity: int, eviction="lru", chunk: int = 64, cap: int = 4):
    pool = PoolDeployment("serve", "x", Layout(), 1, chunk, cap)
    deployment = Deployment("aggregated", (pool,), caching=Caching(eviction))
    service = ServiceModel((make.service(pool, capacity, 1, 1.0),))
    return simulate(workload, deployment, service)


@pytest.mark.parametrize(("eviction", "kept"), [("lru", "BC"), ("fifo", "BC"), ("lfu", "AC")])
def test_eviction_policies_keep_what_they_promise(make, eviction: str, kept: str) -> None:
    """Blocks of four pages, tails of two, room for 14: A is used twice, then B, then C, then four pages go.

    C drives the tails of A out and then A, which was made first and used longest ago; or, where A's two uses
    count, the tail of B instead, and the last request takes B.
    """
    for letter in "ABC":  # each asked alone, at the end of its own run
        prompts = ["A", "A", "B", "C", "", letter]
        requests = requests_of(np.arange(6) * 10.0, prompts, [1, 1, 1, 1, 3, 1])
        found = run(make, Workload(requests), 14, eviction).hit_tokens[-1]
        assert (found == 4) == (letter in kept), letter


def test_a_chunk_can_be_hit_while_its_request_still_prefills(make) -> None:
    """Chunks of four tokens, a step a second: after two steps the second request finds two blocks."""
    work = Workload(requests_of([0.0, 2.5], ["ABCD", "ABXY"], [1, 1]))
    pool = PoolDeployment("serve", "x", Layout(), 1, 4, 4)
    found = simulate(
        work, Deployment("aggregated", (pool,)), ServiceModel((make.service(pool, 100, 1, 1.0),))
    )
    assert found.hit_tokens.tolist() == [0, 8]


def test_the_next_turn_finds_the_answer_too(make) -> None:
    """9 tokens and an answer of 8 leave 16 tokens of KV: four blocks of which the input had named two."""
    requests = requests_of([0.0, 50.0], ["AB", "ABCDE"], [8, 1])
    alone = run(make, Workload(requests), 100)
    together = run(make, Workload(requests, follows=np.array([-1, 0])), 100)
    assert alone.hit_tokens.tolist() == [0, 8]
    assert together.hit_tokens.tolist() == [0, 16]


def test_a_turn_that_begins_otherwise_finds_no_answer(make) -> None:
    requests = requests_of([0.0, 50.0], ["AB", "AXCDE"], [8, 1])
    assert run(make, Workload(requests, follows=np.array([-1, 0])), 100).hit_tokens.tolist() == [0, 4]


def with_host(make, host: HostTier, work: Workload):
    """One instance with room for a prompt of two blocks and little else; a step takes a second."""
    pool = PoolDeployment("serve", "x", Layout(), 1, 64, 4)
    service = replace(make.service(pool, 12, 1, 1.0), host=host)
    return simulate(work, Deployment("aggregated", (pool,), "round_robin"), ServiceModel((service,)))


def test_a_hit_in_host_memory_is_loaded_back(make) -> None:
    """Two blocks of four tokens, 3 bytes each, 6 bytes a second, 0.5 s latency: 4.5 s, then a step."""
    work = Workload(requests_of([0.0, 10.0, 20.0], ["AB", "CD", "AB"], [1, 1, 1]))
    run = with_host(make, HostTier(100, 3.0, 6.0, 0.5), work)
    assert run.hit_tokens.tolist() == [0, 0, 8]
    assert run.host_hit_tokens.tolist() == [0, 0, 8]
    np.testing.assert_allclose(run.column("finish_s") - run.column("arrival_s"), [1.0, 1.0, 5.5])
    values = metrics(run)
    assert values["peak_host_tokens_serve"] <= 100
    assert with_host(make, HostTier(3, 3.0, 6.0, 0.5), work).host_hit_tokens.tolist() == [0, 0, 0]


def test_loads_of_engines_on_the_same_accelerators_share_their_link(make) -> None:
    """Two batches in a pipeline each load eight tokens, 24 bytes, at half of 6 bytes a second.

    Both are there at 28.5 s; their steps of a second follow each other by one of the two stages.
    """
    pool = PoolDeployment("serve", "x", Layout(pp=2), 1, 64, 4)
    prompts = ["AB", "AB", "CD", "CD", "AB", "AB"]
    work = Workload(requests_of([0.0, 0.0, 10.0, 10.0, 20.0, 20.0], prompts, [1] * 6))
    service = replace(make.service(pool, 12, 1, 1.0), host=HostTier(100, 3.0, 6.0, 0.5))
    run = simulate(work, Deployment("aggregated", (pool,), "round_robin"), ServiceModel((service,)))
    np.testing.assert_allclose(run.column("finish_s")[4:], 20.0 + 0.5 + 8.0 + np.array([1.0, 1.5]))
