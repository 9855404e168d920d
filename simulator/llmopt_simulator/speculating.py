"""Speculation as what the kernel reads: tokens to verify, survivals, random stream, the agenda's length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.deployment import Deployment, PoolDeployment
from llmopt_problems.traffic.requests import Requests
from llmopt_simulator.kernel import state as k
from llmopt_simulator.service import ServiceModel

_STREAM = 1
"""Of the run's seed, beside the router's."""


def set_speculation(
    ranks: k.Records, engines: k.Records, deployment: Deployment, service: ServiceModel, ring: int
) -> None:
    """Write what every pool verifies into its engines and ranks, and where ranks count growing pages."""
    pools = zip(deployment.pools, service.pools, strict=True)
    for number, (pool, its_service) in enumerate(pools):
        engines["verify"][engines["pool"] == number] = verified_tokens(pool)
        engines["drafts"][engines["pool"] == number] = its_service.draft is not None
    ranks["verify"] = engines["verify"][ranks["engine"]]
    ranks["growth_period"] = np.where(ranks["verify"] > 1, ring, ranks["page_tokens"])
    counters = ranks["growth_period"] * ranks["grows"]
    ranks["growth"] = np.cumsum(counters) - counters


def speculation_problems(deployment: Deployment, service: ServiceModel) -> Iterator[str]:
    """What is wrong with the speculation of any pool, each with what to do about it."""
    for pool in deployment.pools:
        speculation, growth = pool.speculation, pool.scheduling.growth
        if speculation is None:
            continue
        if pool.role == "prefill":
            yield "the prefill pool speculates: it makes no second token; give speculation to the decode pool"
        if not speculation.acceptance:
            yield f"the {pool.role} pool speculates without draft tokens: give their acceptance, or None"
        if not all(0.0 <= chance <= 1.0 for chance in speculation.acceptance):
            yield f"the {pool.role} pool has acceptance = {speculation.acceptance}: give probabilities"
        if growth is not None and growth.spare_page:
            yield f"the {pool.role} pool speculates with spare_page, of engines that do not: leave it out"
    drafts = any(pool.draft is not None for pool in service.pools)
    if drafts and deployment.pools[-1].speculation is None:
        yield "a pool service has a draft and nothing speculates: leave it out, or give speculation"


def verified_tokens(pool: PoolDeployment) -> int:
    """Tokens of a decode that a step of the pool verifies: its drafts and the one that it makes anyway."""
    return 1 + (pool.speculation.draft_tokens if pool.speculation is not None else 0)


def agenda_steps(requests: Requests, deployment: Deployment) -> int:
    """Decode steps ahead for which an agenda must have room: those of the longest answer; 0 for no agenda."""
    speculates = deployment.pools[-1].speculation is not None
    return int(requests.output_tokens.max()) if speculates else 0


def survivals(deployment: Deployment) -> NDArray[np.float64]:
    """Of each draft token, the probability that it and all before it are accepted, shape (draft tokens,)."""
    speculation = deployment.pools[-1].speculation
    return np.array(speculation.survival if speculation is not None else (), np.float64)


def speculation_stream(seed: int) -> np.uint64:
    """Where the random numbers of a run's sequences start."""
    return np.uint64(np.random.SeedSequence(seed).generate_state(_STREAM + 1, np.uint64)[_STREAM])
