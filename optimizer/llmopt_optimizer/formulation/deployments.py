"""From an assignment of the program to the deployment that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmopt_optimizer.core.program import Assignment, Choice, Number
from llmopt_problems import Problem
from llmopt_problems.deployment import (
    Deployment,
    Layout,
    Mode,
    PoolDeployment,
    Role,
    RouterPolicy,
    Scheduling,
    Transfers,
)
from llmopt_problems.speculation import Speculation

PREFILL_BATCH_CAP = 256
"""Requests that a prefill rank holds at once. Not a decision: its KV pool and its token budget bind first."""


def deployment_of(assignment: Assignment, router: RouterPolicy, *, prefix_cache: bool) -> Deployment:
    """The deployment that `assignment` describes."""
    if assignment.system == "aggregated":
        (choice,) = assignment.choices
        return Deployment("aggregated", (_pool("serve", choice.variant, choice),), router, prefix_cache)
    prefill, decode = _split(assignment)
    pools = (_pool("prefill", prefill[0], prefill[1]), _pool("decode", decode[0], decode[1]))
    return Deployment("disaggregated", pools, router, prefix_cache)


def with_settings(deployment: Deployment, problem: Problem) -> Deployment:
    """The deployment with the engine settings of a problem, which are no decisions."""
    pools = tuple(
        replace(
            pool,
            scheduling=scheduling_of(problem, pool.role),
            speculation=speculation_of(problem, pool.role),
        )
        for pool in deployment.pools
    )
    search = problem.search
    return replace(
        deployment,
        pools=pools,
        caching=search.cache.caching(),
        routing=search.routing.rules(),
        transfers=transfers_of(problem, deployment.mode),
    )


def transfers_of(problem: Problem, mode: Mode) -> Transfers:
    """How contexts are sent in a mode; the usual way where nothing is."""
    return problem.search.kv_transfer.transfers() if mode != "aggregated" else Transfers()


def speculation_of(problem: Problem, role: Role) -> Speculation | None:
    """The speculation of a pool: of the one that decodes."""
    asked = problem.search.speculation
    return None if asked is None or role == "prefill" else asked.speculation()


def scheduling_of(problem: Problem, role: Role) -> Scheduling:
    """The scheduling of a pool; requests arrive, and may be rejected, at the first one only."""
    classes = [each.name for each in problem.traffic.classes]
    scheduling = problem.search.scheduling.scheduling(classes)
    return replace(scheduling, queue_limit=None) if role == "decode" else scheduling


def _split(assignment: Assignment) -> tuple[tuple[str, Choice], tuple[str, Choice]]:
    """Accelerator and choice of both roles, whether they were tabulated apart or together."""
    if len(assignment.choices) == 2:
        prefill, decode = assignment.choices
        return (prefill.variant, prefill), (decode.variant, decode)
    (both,) = assignment.choices
    sender, receiver = both.variant.split("+")
    return (sender, both), (receiver, both)


def _pool(role: Role, accelerator: str, choice: Choice) -> PoolDeployment:
    values = {
        name.removeprefix(f"{role}_"): int(value)
        for name, value in choice.values
        if name.startswith(f"{role}_")
    }
    return PoolDeployment(
        role=role,
        accelerator=accelerator,
        layout=Layout(
            values["tp"],
            values["pp"],
            values["ep"],
            values["dp"],
            values.get("ffn", 0),
            values.get("micro_batches", 1),
        ),
        instances=values["instances"],
        chunk_tokens=_chunk_tokens(values),
        batch_cap=_batch_cap(values),
    )


def _chunk_tokens(values: Mapping[str, Number]) -> int:
    """A decode rank computes one token a sequence: its batch cap is its token budget."""
    return int(values.get("chunk_tokens", values.get("batch_cap", 1)))


def _batch_cap(values: Mapping[str, Number]) -> int:
    return int(values.get("batch_cap", PREFILL_BATCH_CAP))


def decision_values(pool: PoolDeployment) -> dict[str, int]:
    """The decisions that a pool stands for, by the names that `PoolSymbols` gives them."""
    layout = pool.layout
    apart = {"ffn": layout.ffn, "micro_batches": layout.micro_batches} if layout.ffn else {}
    return {
        "tp": layout.tp,
        "pp": layout.pp,
        "ep": layout.ep,
        "dp": layout.dp,
        "instances": pool.instances,
        "chunk_tokens": pool.chunk_tokens,
        "batch_cap": pool.batch_cap,
        **apart,
    }
