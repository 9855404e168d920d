"""`--deployment`: a deployment as a file, as JSON, or as `key=value` pairs, made into one form and checked.

Two shapes are understood. The long one is what `result.json` holds: `pools`, each with `role` and `layout`.
The short one gives the keys of one pool (`tp=4,instances=2`), or of two with the role in front
(`prefill.tp=4,decode.tp=8`). What is left out comes from the problem: its accelerator when it offers one, its
router, prefix cache and scheduling, the largest chunk and batch cap of its search; layouts default to one
instance with every degree 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from llmopt_optimizer.cli.outcome import InputError
from llmopt_optimizer.formulation.deployments import scheduling_of, speculation_of, transfers_of
from llmopt_problems import Problem
from llmopt_problems.deployment import (
    ROLES,
    Caching,
    DecodePolicy,
    Deployment,
    Eviction,
    KvGrowth,
    Layout,
    Mixing,
    Mode,
    Placement,
    PoolDeployment,
    QueueOrder,
    RankPolicy,
    Role,
    RouterPolicy,
    Routing,
    Scheduling,
    TransferMode,
    Transfers,
)
from llmopt_problems.document import check_tree, compose, plain, read_text
from llmopt_problems.speculation import Speculation

_LAYOUT_KEYS = ("tp", "pp", "ep", "dp", "ffn", "micro_batches")
_SHARED_KEYS = ("mode", "router", "prefix_cache", "caching", "routing", "transfers")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _LayoutInput(_Strict):
    tp: PositiveInt = 1
    pp: PositiveInt = 1
    ep: PositiveInt = 1
    dp: PositiveInt = 1
    ffn: int = Field(0, ge=0)
    micro_batches: PositiveInt = 1


class _GrowthInput(_Strict):
    conservativeness: float = 0.0
    conservativeness_floor: float | None = None
    decay_steps: int = 600
    watermark: float = 0.01
    spare_page: bool = False


class _SchedulingInput(_Strict):
    mixing: Mixing = "decode_first"
    order: QueueOrder = "fcfs"
    priorities: tuple[int, ...] = Field((), strict=False)  # a list in JSON
    queue_limit: int | None = None
    window_s: float = 0.0
    window_requests: int | None = None
    step_overhead_s: float = 0.0
    overlapped: bool = True
    growth: _GrowthInput | None = None
    plan_ahead: bool = False

    def scheduling(self) -> Scheduling:
        growth = None if self.growth is None else KvGrowth(**self.growth.model_dump())
        return Scheduling(**{**self.model_dump(), "growth": growth})


class _SpeculationInput(_Strict):
    acceptance: tuple[float, ...] = Field(strict=False)
    draft: str | None = None


class _PoolInput(_Strict):
    role: Role
    accelerator: str
    layout: _LayoutInput = _LayoutInput()
    instances: PositiveInt = 1
    chunk_tokens: PositiveInt
    batch_cap: PositiveInt
    scheduling: _SchedulingInput = _SchedulingInput()
    speculation: _SpeculationInput | None = None

    def pool(self) -> PoolDeployment:
        fields = self.model_dump()
        layout, scheduling = Layout(**fields["layout"]), self.scheduling.scheduling()
        asked = self.speculation
        speculation = None if asked is None else Speculation(asked.acceptance, asked.draft)
        parts = {"layout": layout, "scheduling": scheduling, "speculation": speculation}
        return PoolDeployment(**{**fields, **parts})


class _CachingInput(_Strict):
    eviction: Eviction = "lru"
    page_tokens: PositiveInt = 16
    host_bytes: float | None = Field(None, gt=0)


class _RoutingInput(_Strict):
    cache_threshold: float = Field(0.3, ge=0, le=1)
    balance_abs_threshold: float = Field(64.0, ge=0)
    balance_rel_threshold: float = Field(1.5, ge=1)
    max_tree_tokens: int = Field(2**24, ge=0)
    eviction_interval_s: float = Field(120.0, ge=0)
    dp_aware: bool = True
    decode: DecodePolicy = "shortest_queue"
    dp_balance: RankPolicy = "round_robin"


class _TransfersInput(_Strict):
    mode: TransferMode = "end"
    overhead_s: float = Field(0.0, ge=0)
    placement: Placement = "apart"


class _DeploymentInput(_Strict):
    mode: Mode
    pools: list[_PoolInput] = Field(min_length=1, max_length=3)
    router: RouterPolicy
    prefix_cache: bool
    caching: _CachingInput
    routing: _RoutingInput
    transfers: _TransfersInput

    @model_validator(mode="after")
    def _roles_fit_the_mode(self) -> _DeploymentInput:
        found = [pool.role for pool in self.pools]
        if sorted(found) not in [sorted(roles) for roles in ROLES[self.mode]]:
            expected = " or ".join(", ".join(roles) for roles in ROLES[self.mode])
            raise ValueError(f"{self.mode} serving has the pools {expected}, not {', '.join(found)}")
        return self


def parse_deployment(text: str, problem: Problem) -> Deployment:
    """The deployment that `text` (file name, JSON or pairs) describes, completed from `problem`.

    Raises `InputError` naming the key at fault.
    """
    return deployment_from(_document(text), problem)


def deployment_from(document: Mapping[str, Any], problem: Problem) -> Deployment:
    """The deployment that a long or short form describes; see `parse_deployment`."""
    long_form = document if "pools" in document else _long_form(document)
    try:
        checked = _DeploymentInput.model_validate(_completed(long_form, problem))
    except ValidationError as error:
        raise InputError(_explained(error)) from error
    pools = sorted(
        (entry.pool() for entry in checked.pools), key=lambda pool: get_args(Role).index(pool.role)
    )
    caching = Caching(**checked.caching.model_dump())
    routing = Routing(**checked.routing.model_dump())
    transfers = Transfers(**checked.transfers.model_dump())
    return Deployment(
        checked.mode, tuple(pools), checked.router, checked.prefix_cache, caching, routing, transfers
    )


def _document(text: str) -> dict[str, Any]:
    """The keys and values of `text`, whatever its form."""
    if text.lstrip().startswith("{"):
        return _parsed(text, "--deployment")
    if "=" in text and not Path(text).is_file():
        return _pairs(text)
    if not text.strip():
        raise InputError("--deployment: nothing given; write a file, JSON text, or pairs such as tp=4")
    return _parsed(read_text(Path(text)), text)


def _parsed(text: str, source: str) -> dict[str, Any]:
    """YAML, or the JSON that is YAML too, read with the checks of problem files."""
    root = compose(text, source)
    check_tree(root)
    document = plain(root)
    if not isinstance(document, dict):
        raise InputError(f"{source}: expected keys and values, such as {{tp: 4, instances: 2}}")
    return document


def _pairs(text: str) -> dict[str, Any]:
    pairs = [_pair(part) for part in text.split(",") if part.strip()]
    keys = [key for key, _ in pairs]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise InputError(f"--deployment: {twice[0]} is given twice")
    return dict(pairs)


def _pair(part: str) -> tuple[str, Any]:
    key, separator, value = part.partition("=")
    if not separator:
        raise InputError(f"--deployment: {part.strip()!r} is not key=value")
    return key.strip(), {"true": True, "false": False}.get(value.strip(), _number_or_text(value.strip()))


def _number_or_text(value: str) -> int | str:
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else value


def _long_form(document: Mapping[str, Any]) -> dict[str, Any]:
    """The short form with its pools spelled out."""
    shared = {key: value for key, value in document.items() if key in _SHARED_KEYS}
    pools: dict[str, dict[str, Any]] = {}
    for key, value in _flat(document).items():
        role, dot, name = key.rpartition(".")
        if key not in _SHARED_KEYS:
            pools.setdefault(role if dot else "serve", {})[name] = value
    return {**shared, "pools": [_pool_form(role, keys) for role, keys in pools.items()]}


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        inner = (
            {f"{key}.{name}": entry for name, entry in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
        flat |= inner
    return flat


def _pool_form(role: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    layout = {key: value for key, value in keys.items() if key in _LAYOUT_KEYS}
    others = {key: value for key, value in keys.items() if key not in _LAYOUT_KEYS}
    return {"role": role, "layout": layout, **others}


def _completed(document: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    entries = document["pools"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("--deployment: pools must be a list, each entry with keys and values")
    pools = [{**_pool_defaults(problem, entry.get("role")), **entry} for entry in entries]
    mode: Mode = "aggregated" if len(entries) == 1 else "disaggregated"
    mode = "hybrid" if any(entry.get("role") == "hybrid" for entry in entries) else mode
    shared = {
        "mode": mode,
        "router": problem.search.router,
        "prefix_cache": problem.search.prefix_cache,
        "caching": asdict(problem.search.cache.caching()),
        "routing": asdict(problem.search.routing.rules()),
        "transfers": asdict(transfers_of(problem, mode)),
    }
    return {**shared, **document, "pools": pools}


def _pool_defaults(problem: Problem, role: object) -> dict[str, Any]:
    offers = problem.hardware.accelerators
    accelerator = {"accelerator": offers[0].name} if len(offers) == 1 else {}
    search = problem.search
    speculation = speculation_of(problem, "prefill" if role == "prefill" else "decode")
    return {
        **accelerator,
        "chunk_tokens": max(search.chunk_tokens.values),
        "batch_cap": max(search.batch_cap.values),
        "speculation": None if speculation is None else asdict(speculation),
        "scheduling": asdict(scheduling_of(problem, "decode" if role == "decode" else "serve")),
    }


def _explained(error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"]) or "deployment"
        value = "" if isinstance(fault["input"], dict | list | BaseModel) else f" (got {fault['input']!r})"
        lines.append(f"--deployment: {where}: {fault['msg']}{value}")
    return "\n".join(lines)
