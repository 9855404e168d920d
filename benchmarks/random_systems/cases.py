"""One random system from one number, and what became of it.

Traffic: up to 40 requests in bursts, spread out or from a few users, alone or in conversations whose turns
share what came before. KV caches hold from nothing to everything; most are too small for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from llmopt_calibration.compiled import CompiledStep, compile_step
from llmopt_calibration.step.law import Operator, StepLaw
from llmopt_calibration.step.symbols import StepSymbols
from llmopt_problems.deployment import ROLES, Deployment, Layout, Mode, PoolDeployment, Scheduling
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import (
    InvariantError,
    KvTransfer,
    PoolService,
    Run,
    ServiceModel,
    SimulationError,
    SimulationOptions,
    metrics,
    simulate,
)
from random_systems.fields import MOST_BATCH, MOST_CHUNK, MOST_DRAFTS, MOST_RANKS, count, draw

Ints = NDArray[np.int64]
MODES: Final[tuple[Mode, ...]] = (
    "aggregated",
    "aggregated",
    "aggregated",
    "disaggregated",
    "disaggregated",
    "hybrid",
)
LAWS: Final = 16
"""Different step laws; the cases share them."""
STARVED: Final = 0.4
"""Share of systems that can serve every request alone but not all together."""
LONGEST: Final = 60
CHAINS: Final = 6
"""Conversations of a workload."""


@dataclass(frozen=True, slots=True)
class System:
    """All that a run reads."""

    workload: Workload
    deployment: Deployment
    service: ServiceModel
    options: SimulationOptions


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case."""

    kind: str
    """`served`, `refused` (a named error), `broken` (an invariant), `failed` (any other error) or `hang`."""
    reason: str = ""
    seen: Mapping[str, bool] | None = None
    """What happened in a served run."""


def run_case(case: int) -> Outcome:
    """Simulate case number `case` and measure it."""
    system = random_system(np.random.default_rng(case))
    try:
        run = simulate(system.workload, system.deployment, system.service, case, system.options)
        values = metrics(run)
    except SimulationError as error:
        return Outcome("refused", str(error))
    except InvariantError as error:
        return Outcome("broken", f"case {case}: {error}")
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Outcome("failed", f"case {case}: {type(error).__name__}: {error}")
    if not (0.0 <= values["hit_rate"] <= 1.0 and values["busy_share"] <= 1.0 + 1e-9):
        return Outcome("broken", f"case {case}: hit rate {values['hit_rate']}, busy {values['busy_share']}")
    return Outcome("served", seen=_seen(run))


def _seen(run: Run) -> dict[str, bool]:
    world = run.state.world[0]
    return {
        "requests finished": bool(run.finished.any()),
        "requests that never fit": bool((~run.finished).sum() > world["turned_away"]),
        "requests turned away": bool(world["turned_away"] > 0),
        "retractions": bool(world["retractions"] > 0),
        "prefix hits": bool(run.hit_tokens.any()),
        "hits in host memory": bool(run.host_hit_tokens.any()),
        "speculation": any(pool.speculation is not None for pool in run.deployment.pools),
        "KV transfers": bool((run.column("decode_rank") >= 0).any()),
        "layers sent while others are computed": bool(run.column("streams").any()),
        "KV that stays in a node": bool(world["near_bytes"] > 0.0),
        "hybrid pools": run.deployment.mode == "hybrid",
        "closed loops": run.workload.concurrency is not None,
        "turns that wait for answers": run.workload.follows is not None,
        "ranks that step together": any(pool.layout.dp > 1 for pool in run.deployment.pools),
    }


def random_system(rng: np.random.Generator) -> System:
    """A system of random everything."""
    mode = MODES[int(rng.integers(len(MODES)))]
    roles = ROLES[mode][int(rng.integers(len(ROLES[mode])))]
    pools = _alike(tuple(_pool(rng, role) for role in roles))
    deployment = draw(rng, Deployment, mode=mode, pools=pools)
    services = tuple(_service(rng, pools[-1].speculation is not None) for _ in pools)
    workload = _workload(rng)
    if rng.random() < STARVED:
        services = tuple(_starved(rng, service, workload) for service in services)
    service = draw(rng, ServiceModel, pools=services, transfer=draw(rng, KvTransfer))
    return System(workload, deployment, service, draw(rng, SimulationOptions))


def _service(rng: np.random.Generator, speculates: bool) -> PoolService:
    """A pool's laws and caches; a draft has a law of its own or costs nothing."""
    draft = _law(int(rng.integers(LAWS))) if speculates and rng.random() < 0.5 else None
    return draw(rng, PoolService, step=_law(int(rng.integers(LAWS))), draft=draft)


def _starved(rng: np.random.Generator, service: PoolService, workload: Workload) -> PoolService:
    """The same pool with room for the longest request and little more."""
    longest = int((workload.requests.input_tokens + workload.requests.output_tokens).max())
    tokens = int(longest * rng.uniform(1.0, 2.5)) + 3 * service.page_tokens
    return replace(service, kv_capacity_tokens=tokens)


def _pool(rng: np.random.Generator, role: str) -> PoolDeployment:
    """A pool whose layout is possible; rules of its role are broken in one case of twenty."""
    pool = draw(rng, PoolDeployment, role=role)
    dp = pool.layout.dp
    pool = replace(pool, layout=Layout(tp=dp * count(1, 2)(rng), pp=pool.layout.pp, dp=dp))
    if role == "serve" or rng.random() < 0.05:
        return pool
    limit = pool.scheduling.queue_limit if role == "prefill" else None
    pool = replace(pool, scheduling=replace(pool.scheduling, growth=None, queue_limit=limit))
    return replace(pool, speculation=None) if role == "prefill" else pool


def _alike(pools: tuple[PoolDeployment, ...]) -> tuple[PoolDeployment, ...]:
    """Pools beside a hybrid one, as its rules want them."""
    if "hybrid" not in {pool.role for pool in pools}:
        return pools
    return tuple(_beside_hybrid(pool, pools[0].scheduling) for pool in pools)


def _beside_hybrid(pool: PoolDeployment, first: Scheduling) -> PoolDeployment:
    scheduling = replace(
        pool.scheduling,
        order=first.order,
        priorities=first.priorities,
        queue_limit=first.queue_limit if pool.role != "decode" else None,
        growth=None,
        plan_ahead=False,
    )
    return replace(pool, speculation=None, scheduling=scheduling)


def _workload(rng: np.random.Generator) -> Workload:
    number = int(rng.integers(1, 41))
    gaps_s = rng.exponential(rng.choice([0.02, 0.3, 10.0]), number) * (rng.random(number) < 0.8)
    block, longest = int(rng.choice([1, 3, 4, 16])), int(rng.choice([2, 10, LONGEST]))
    outputs = rng.integers(1, rng.choice([2, 6, 50, 50]), number)
    chains, inputs = rng.integers(0, CHAINS, number), rng.integers(1, longest + 1, number)
    follows = _turns(chains, inputs, outputs) if rng.random() < 0.3 else None
    blocks = (inputs // block * rng.choice([0.0, 0.5, 1.0], number)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(blocks)])
    most = int(blocks.max(initial=0)) + 1
    ids = [chain * most + np.arange(named) for chain, named in zip(chains, blocks, strict=True)]
    classes = rng.integers(0, 3, number) if rng.random() < 0.5 else None
    shared = np.concatenate([np.zeros(0, np.int64), *ids])
    requests = Requests(np.cumsum(gaps_s), inputs, outputs, offsets, shared, block, classes)
    users = int(rng.integers(1, 12)) if follows is None and rng.random() < 0.35 else None
    think_s = rng.exponential(1.0, number) if rng.random() < 0.4 else None
    return Workload(requests, users, think_s, follows)


def _turns(chains: Ints, inputs: Ints, outputs: Ints) -> Ints:
    """The turn before in each conversation; a turn's input grows to hold what came before it, in place."""
    follows, last = np.full(len(chains), -1), dict[int, int]()
    for i, chain in enumerate(chains.tolist()):
        before = last.get(chain)
        if before is not None and inputs[before] < LONGEST:
            follows[i] = before
            inputs[i] += inputs[before] + outputs[before]
        last[chain] = i
    return follows


@cache
def _law(number: int) -> CompiledStep:
    """One of `LAWS` step laws: a constant and a share of every count of the state."""
    rng, s = np.random.default_rng(number), StepSymbols()
    terms = {
        "step": sp.S.One,
        "rank_tokens": s.b + s.p,
        "engine_tokens": s.N,
        "heads": s.h,
        "decode": s.K,
        "prefill": s.p + s.A / 10,
    }
    operators = []
    for sees, count_ in terms.items():
        seconds = sp.Float(float(rng.uniform(1e-3, 0.02))) * count_
        work = (seconds, 100 * seconds, 10 * seconds, seconds)
        operators.append(Operator(sees, "x", *work, sees, "default"))  # type: ignore[arg-type]
    batch = MOST_BATCH * (1 + MOST_DRAFTS)
    most = MOST_CHUNK + batch
    return compile_step(StepLaw(tuple(operators), s), most, MOST_RANKS * most, batch)
