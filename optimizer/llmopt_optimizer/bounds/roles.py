"""Bounds of one pool: every row of a role's decisions, with the least time and the least money it can take.

Rows are those of the program, without what reads a queue: decisions and the rules of validity, tabulated by
the core. Bounds of a row depend on the layout through the compiled step law, on the caps through the sizes
of a step, and on the number of instances through the engine time that there is; each is computed once for
the rows that share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmopt_calibration.compiled import CompiledStep
from llmopt_optimizer.bounds.demand import Demand, quantile, smallest_sum
from llmopt_optimizer.bounds.engine import (
    Load,
    StepFloor,
    TokenPrices,
    decode_alone_s,
    mean_step_s,
    needed_s,
    prompt_price_s,
    step_floor,
    token_prices,
)
from llmopt_optimizer.formulation.deployments import PREFILL_BATCH_CAP
from llmopt_problems.deployment import Role
from llmopt_problems.metrics_catalog import STATISTICS, Statistic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARES: Mapping[Statistic, float] = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
LAYOUT = ("tp", "pp", "ep", "dp", "ffn", "micro_batches")
"""Decisions that a step law depends on, in the order of `Layout`."""
MEAN_SHARES = (0.5, 0.8)
"""Shares of the requests by whose slowest member a mean is bounded."""


@dataclass(frozen=True, slots=True)
class Patience:
    """A service level that says when prompts are done: this share of them within so many seconds."""

    share: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Layouts:
    """Decisions of rows by name, each of shape (rows,), and the accelerator of each row."""

    role: Role
    accelerator: NDArray[np.str_]
    values: Mapping[str, Ints]

    def groups(self, *names: str) -> list[tuple[tuple[int, ...], Ints]]:
        """Rows with equal values of these decisions: the values, and the positions."""
        table = np.stack([self.values[name] for name in names], axis=1)
        kinds, inverse = np.unique(table, axis=0, return_inverse=True)
        return [
            (tuple(map(int, kind)), np.flatnonzero(inverse.ravel() == index))
            for index, kind in enumerate(kinds)
        ]

    def take(self, rows: Ints) -> Layouts:
        """Only these rows."""
        return Layouts(
            self.role, self.accelerator[rows], {name: column[rows] for name, column in self.values.items()}
        )


@dataclass(frozen=True, slots=True)
class RoleBounds:
    """Of every row, shape (rows,); seconds that a simulation cannot undercut."""

    prompt_s: Mapping[Statistic, Floats]
    """Of computing a prompt."""
    least_prompt_s: Floats
    step_s: Mapping[Statistic, Floats]
    """Of TPOT; zero for a pool that does not decode."""
    decode_s: Mapping[Statistic, Floats]
    """From first to last token."""
    token_s: Floats
    """Of any step with a decode."""
    requests_per_s: Floats
    """Most that the engines could serve; infinite in an open loop."""
    keeps_up: NDArray[np.bool_]
    """Whether the engines have the time that the prompts need."""


@dataclass(frozen=True, slots=True)
class Step:
    """A compiled step of one layout with room for the largest caps, and what is known of its floors."""

    compiled: CompiledStep
    floor: StepFloor


def role_bounds(
    layouts: Layouts,
    step_of: Mapping[tuple[str, tuple[int, ...]], CompiledStep],
    demands: Sequence[Demand],
    patience: Patience | None,
) -> RoleBounds:
    """The bounds of every row; `step_of` is keyed by accelerator and `LAYOUT`."""
    count = len(layouts.accelerator)
    empty = _nothing(count)
    for accelerator in np.unique(layouts.accelerator):
        mine = np.flatnonzero(layouts.accelerator == accelerator)
        for degrees, rows in layouts.take(mine).groups(*LAYOUT):
            compiled = step_of[str(accelerator), degrees]
            _fill(empty, mine[rows], layouts.take(mine[rows]), compiled, demands, patience)
    return empty


def _nothing(count: int) -> RoleBounds:
    def zeros() -> dict[Statistic, Floats]:
        return {statistic: np.zeros(count) for statistic in STATISTICS}

    return RoleBounds(
        zeros(),
        np.zeros(count),
        zeros(),
        zeros(),
        np.zeros(count),
        np.full(count, np.inf),
        np.ones(count, dtype=np.bool_),
    )


def _fill(
    bounds: RoleBounds,
    rows: Ints,
    layouts: Layouts,
    compiled: CompiledStep,
    demands: Sequence[Demand],
    patience: Patience | None,
) -> None:
    """Write the bounds of rows that share one accelerator and layout."""
    floor = _floor(layouts, compiled, demands)
    if layouts.role != "prefill":
        _fill_decodes(bounds, rows, compiled, floor, demands)
    for (chunk,), own in layouts.groups("chunk_tokens"):
        taken = rows[own]
        if layouts.role != "decode":
            _fill_prompts(bounds, taken, prompt_price_s(floor, chunk), demands)
        _fill_together(bounds, taken, layouts.take(own), floor, chunk, demands, patience)


def _floor(layouts: Layouts, compiled: CompiledStep, demands: Sequence[Demand]) -> StepFloor:
    decodes = 0 if layouts.role == "prefill" else int(layouts.values["batch_cap"].max())
    prompt = 0 if layouts.role == "decode" else int(layouts.values["chunk_tokens"].max())
    context = float(min(demand.input_tokens.min() for demand in demands))
    return step_floor(compiled, int(layouts.values["dp"][0]), context, decodes, prompt)


def _fill_decodes(
    bounds: RoleBounds, rows: Ints, compiled: CompiledStep, floor: StepFloor, demands: Sequence[Demand]
) -> None:
    """Each request's decode steps, alone in its engine's batch."""
    steps = [decode_alone_s(compiled, floor, demand.input_tokens) for demand in demands]
    several = [demand.decode_steps > 0 for demand in demands]
    for statistic in STATISTICS:
        bounds.step_s[statistic][rows] = min(
            _statistic(statistic, step[many]) for step, many in zip(steps, several, strict=True)
        )
        bounds.decode_s[statistic][rows] = min(
            _statistic(statistic, step * demand.decode_steps)
            for step, demand in zip(steps, demands, strict=True)
        )
    bounds.token_s[rows] = min(float(step.min()) for step in steps)


def _fill_prompts(bounds: RoleBounds, rows: Ints, price_s: Floats, demands: Sequence[Demand]) -> None:
    chunk = len(price_s) - 1
    alone = [d.computed_tokens * price_s[np.minimum(d.computed_tokens, chunk)] for d in demands]
    for statistic in STATISTICS:
        bounds.prompt_s[statistic][rows] = min(_statistic(statistic, prompts) for prompts in alone)
    bounds.least_prompt_s[rows] = min(float(prompts.min()) for prompts in alone)


def _statistic(statistic: Statistic, values: Floats) -> float:
    if statistic == "mean":
        return float(values.mean()) if len(values) else 0.0
    return quantile(values, SHARES[statistic])


def _fill_together(
    bounds: RoleBounds,
    rows: Ints,
    layouts: Layouts,
    floor: StepFloor,
    chunk: int,
    demands: Sequence[Demand],
    patience: Patience | None,
) -> None:
    """What all requests together need of the engines' time."""
    most_prompt = floor.dp * chunk if layouts.role != "decode" else 0
    largest = int(layouts.values["batch_cap"].max()) * floor.dp if layouts.role != "prefill" else 1
    prices = token_prices(floor, largest, most_prompt)
    for (cap,), own in layouts.groups("batch_cap"):
        engines = (layouts.values["instances"] * layouts.values["pp"])[own].astype(np.float64)
        busy = [Busy(prices, floor.dp * cap, engines, _asked(d, layouts.role, patience)) for d in demands]
        _fill_busy(bounds, rows[own], busy)


def _asked(demand: Demand, role: Role, patience: Patience | None) -> Asked:
    prompts = demand.computed_tokens * (role != "decode")
    steps = demand.decode_steps * (role != "prefill")
    timed = demand.span_s is not None and patience is not None
    span_s = demand.span_s + patience.seconds if timed else None  # type: ignore[operator, union-attr]
    share = patience.share if patience is not None else 1.0
    return Asked(steps, prompts, span_s, share, demand.concurrency is not None, demand.rejects)


def _fill_busy(bounds: RoleBounds, rows: Ints, busy: Sequence[Busy]) -> None:
    """Every bound is the weakest over the demands: replications draw different requests."""
    bounds.requests_per_s[rows] = np.max([each.requests_per_s() for each in busy], axis=0)
    bounds.keeps_up[rows] = np.any([each.keeps_up() for each in busy], axis=0)
    alone_s = bounds.token_s[rows]
    found = [each.step_s(alone_s) for each in busy]
    for statistic in STATISTICS:
        slowest = np.min([step_s[statistic] for step_s in found], axis=0)
        bounds.step_s[statistic][rows] = np.maximum(bounds.step_s[statistic][rows], slowest)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the requests of one demand ask of one pool."""

    decode_steps: Ints
    prompt_tokens: Ints
    span_s: float | None
    """Time in which the prompts of a `share` of them are done; None where nothing says so."""
    share: float
    closed_loop: bool
    rejects: bool

    def smallest(self) -> tuple[float, float]:
        """Decode steps and prompt tokens of a request: their mean where all are served, else the least."""
        if self.rejects:
            return float(self.decode_steps.min()), float(self.prompt_tokens.min())
        return float(self.decode_steps.mean()), float(self.prompt_tokens.mean())


@dataclass(frozen=True, slots=True)
class Busy:
    """Equal pools of 1, 2, … engines under one demand."""

    prices: TokenPrices
    most_decodes: int
    engines: Floats
    asked: Asked

    def requests_per_s(self) -> Floats:
        """Most requests a second that the engines have time for; infinite in an open loop."""
        if not self.asked.closed_loop:
            return np.full(len(self.engines), np.inf)
        seconds = needed_s(self.prices, self.most_decodes, *self.asked.smallest())
        return self.engines / max(seconds, 1e-300)

    def keeps_up(self) -> NDArray[np.bool_]:
        """Whether there is time for the prompts."""
        if self.asked.span_s is None:
            return np.ones(len(self.engines), dtype=np.bool_)
        prompts = smallest_sum(self.asked.prompt_tokens, self.asked.share)
        seconds = needed_s(self.prices, self.most_decodes, 0.0, prompts)
        return np.asarray(seconds <= self.engines * self.asked.span_s * (1 + 1e-9))

    def step_s(self, alone_s: Floats) -> dict[Statistic, Floats]:
        """Lower bounds of TPOT by statistic; no decode step is shorter than `alone_s`."""
        late = 1 - self.asked.share
        quantiles = {statistic: self._slowest(share - late) for statistic, share in SHARES.items()}
        means = [
            share * alone_s + (1 - share) * np.maximum(alone_s, self._slowest(share - late))
            for share in MEAN_SHARES
        ]
        return {**quantiles, "mean": np.max(means, axis=0)}

    def _slowest(self, share: float) -> Floats:
        """Smallest x such that this share of the requests may have a TPOT of at most x."""
        steps, span_s = self.asked.decode_steps, self.asked.span_s
        if span_s is None or share <= 0 or not steps.any():
            return np.zeros_like(self.engines)
        prompts = smallest_sum(self.asked.prompt_tokens, share)
        load = Load(smallest_sum(steps, share), prompts, span_s, float(steps.max()))
        if not load.decode_steps:
            return np.zeros_like(self.engines)
        return np.maximum(0.0, mean_step_s(self.prices, self.most_decodes, load, self.engines))


def prefill_caps(count: int) -> Ints:
    """The batch cap of prefill pools, which is no decision."""
    return np.full(count, PREFILL_BATCH_CAP, dtype=np.int64)
