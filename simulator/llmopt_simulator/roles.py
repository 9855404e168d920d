"""What the pools of a deployment do: where requests arrive, and where they may be sent.

Ranks are numbered pool by pool, prefill before hybrid before decode, so those where requests arrive are the
first ones, those that receive what is prefilled elsewhere the last, and hybrid ranks are both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from llmopt_problems.deployment import ROLES, Deployment, PoolDeployment
from llmopt_simulator.kernel import state as k

Pool = TypeVar("Pool")


def front_pools(deployment: Deployment) -> tuple[PoolDeployment, ...]:
    """The pools where requests arrive."""
    return tuple(pool for pool in deployment.pools if pool.role != "decode")


def front_ranks(deployment: Deployment) -> int:
    """Ranks where requests arrive."""
    return sum(pool.ranks for pool in front_pools(deployment))


def back_start(deployment: Deployment) -> int:
    """The first rank that requests may be sent to; behind all ranks where none are sent."""
    return sum(pool.ranks for pool in deployment.pools if pool.role in ("serve", "prefill"))


def between(pools: Sequence[Pool]) -> Pool:
    """The pool between the first and the last, or the last."""
    return pools[1] if len(pools) == 3 else pools[-1]


def set_roles(ranks: k.Records, engines: k.Records, deployment: Deployment) -> None:
    """Write what their pool does into engines and ranks."""
    last = len(deployment.pools) - 1
    for number, pool in enumerate(deployment.pools):
        its_engines = engines["pool"] == number
        engines["prefills"][its_engines] = pool.role != "decode"
        engines["law"][its_engines] = 0 if number == 0 else 1 if number == last else 2
        ranks["sends"][its_engines[ranks["engine"]]] = pool.role == "prefill"


def role_problems(deployment: Deployment) -> Iterator[str]:
    """What is wrong with the pools of a deployment, and with what hybrid ones cannot do."""
    roles = tuple(pool.role for pool in deployment.pools)
    if roles not in ROLES[deployment.mode]:
        known = " or ".join(", ".join(each) for each in ROLES[deployment.mode])
        yield f"{deployment.mode} serving has the pools {known}, not {', '.join(roles) or 'none'}"
    if deployment.mode == "hybrid":
        yield from _hybrid_problems(deployment)


def _hybrid_problems(deployment: Deployment) -> Iterator[str]:
    front = front_pools(deployment)
    for pool in deployment.pools:
        if pool.scheduling.growth is not None or pool.scheduling.plan_ahead or pool.speculation is not None:
            yield (
                f"the {pool.role} pool of a hybrid deployment grows, plans ahead or speculates: its KV is "
                "reserved in full and steps are planned one by one; leave growth, plan_ahead, speculation out"
            )
    for name in ("order", "priorities", "queue_limit"):
        if len({getattr(pool.scheduling, name) for pool in front}) > 1:
            yield f"the pools where requests arrive differ in {name}: give all of them the same"
    if deployment.router == "central_queue" and len({pool.batch_cap for pool in front}) > 1:
        yield "a central_queue router takes ranks for equals, and batch_cap differs: give all pools the same"
