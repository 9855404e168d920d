"""What every role's formulas start from, and what they end in.

`PoolInputs` holds the laws of one model on one accelerator under symbolic decisions; `PoolFormulas` is what
a role makes of them: implicit states, attributes that the system's metrics read, and constraints. Both are
free of numbers that a solve may change: those are frozen symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Expr, Integer, S

from llmopt_calibration.step import StepLaw
from llmopt_optimizer.core.algebra import larger
from llmopt_optimizer.core.program import Constraint, State
from llmopt_optimizer.metrics.resources import Utilisation, gpus, power_w
from llmopt_optimizer.symbols import FrozenSymbols, PoolSymbols
from llmopt_problems.deployment import Role, RouterPolicy
from llmopt_problems.hardware.spec import AcceleratorSpec
from llmopt_problems.metrics_catalog import Statistic

LARGEST_LOAD = 0.97
"""A deployment whose prefill or batch slots are busier than this is not proposed: its queue would be unstable
within the accuracy of the laws."""

TYPICAL_TOKENS = Integer(1024)
"""Tokens of a step for which formulas take the imbalance of experts, a number then for each number of groups.
As a formula of the step's own tokens it costs minutes; simulation and bounds have it."""

TRAFFIC = "traffic against capacity"
"""Label of the constraints that read a load: the expected model's judgement, not a rule of validity."""

PROBABILITIES: Mapping[Statistic, float] = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class MemoryInputs:
    """Bytes and tokens of one accelerator, as expressions in the pool's decisions."""

    fixed_bytes: Expr
    """Weights, activations of the largest step, and runtime reserve."""
    kv_bytes_per_token: Expr
    kv_capacity_tokens: Expr
    """Tokens that the KV pool of one rank holds."""
    apart_bytes: Expr = S.Zero
    """On accelerators for feed-forward blocks alone, where there are any."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pool's formulas share with the other pools of the system."""

    frozen: FrozenSymbols
    router: RouterPolicy
    closed_loop: bool
    equal_inputs: bool
    """Every request has the same number of input tokens."""
    plan_ahead: bool = False
    """A request that comes during a step waits for the one after next."""


@dataclass(frozen=True, slots=True)
class PoolInputs:
    """One role on one accelerator type."""

    role: Role
    symbols: PoolSymbols
    law: StepLaw
    memory: MemoryInputs
    accelerator: AcceleratorSpec
    arithmetic: str
    """Arithmetic of the weights' GEMMs: which peak utilisation is measured against."""
    usd_per_gpu_hour: float
    largest_request_tokens: float
    """Input plus output of the largest request: what the KV pool of a rank must hold."""


@dataclass(frozen=True, slots=True)
class PoolFormulas:
    """A role as a program reads it; attribute names are without the role."""

    states: tuple[State, ...]
    attributes: Mapping[str, Expr]
    constraints: tuple[Constraint, ...]


def resource_attributes(inputs: PoolInputs, used: Utilisation, kv_tokens: Expr) -> dict[str, Expr]:
    """Accelerators, money, power, utilisation and memory of a pool, `kv_tokens` held on a rank at its
    peak.
    """
    count = gpus(inputs.symbols)
    peak = inputs.memory.fixed_bytes + kv_tokens * inputs.memory.kv_bytes_per_token
    if inputs.memory.apart_bytes != 0:
        peak = larger(peak, inputs.memory.apart_bytes)
    return {
        "gpus": count,
        "usd_per_hour": count * inputs.usd_per_gpu_hour,
        "power_w": count * power_w(inputs.accelerator, used),
        "compute_gpus": count * used.compute,
        "bandwidth_gpus": count * used.bandwidth,
        "network_gpus": count * used.network,
        "peak_memory_bytes": peak,
        "memory_fraction": peak / inputs.accelerator.hbm_bytes,
    }


def fitting(inputs: PoolInputs) -> Constraint:
    """The largest request fits the KV pool of a rank, so the weights fit the accelerator too."""
    need = inputs.largest_request_tokens
    return Constraint("memory", need - inputs.memory.kv_capacity_tokens, label="memory of an accelerator")


def stable(name: str, load: Expr) -> Constraint:
    """A queue's load leaves the margin that stability needs."""
    return Constraint(name, load - LARGEST_LOAD, label=TRAFFIC)
