"""What is known of a cluster: the groups measured so far, what is ruled out, and the best that follows.

Everything that a plan needs follows from the rates that groups carry, in exact numbers: the best packing of
any number of accelerators of a type (`core.covering`), hence the most that the cluster serves, or the
cheapest accelerators for a load. What might still be better follows from the rates that no group can carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import inf

from llmopt_optimizer.core.covering import Stock, Table, best_below, cheapest, frontier, table
from llmopt_optimizer.core.packing import Shape
from llmopt_optimizer.fleet.capacity import Group

JUST_BELOW = 1 - 1e-6
"""A stock that carries this part of a load does not carry it, whatever rounding does."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One accelerator type of the cluster."""

    accelerator: str
    count: int
    price: float
    """Of one accelerator, in what is made small: dollars an hour, or 1."""
    largest_group: int
    groups: Mapping[str, Group] = field(default_factory=dict)
    """Measured so far, by name."""
    ceilings: Mapping[int, float] = field(default_factory=dict)
    """Rates that no group of a size carries; unknown sizes may carry anything."""

    @property
    def shapes(self) -> list[Shape]:
        """The groups as shapes of a packing."""
        return [Shape(name, (group.gpus,), group.rate_per_s) for name, group in self.groups.items()]

    @property
    def carried(self) -> Table:
        """The best packing of every number of accelerators."""
        return table(self.shapes, self.count)

    @property
    def thinkable(self) -> Table | None:
        """The best packing if every group carried what is not ruled out; None where nothing is known."""
        rates = [(size, self.ceilings.get(size, inf)) for size in range(1, self.largest_group + 1)]
        if any(rate == inf for _, rate in rates):
            return None
        return table([Shape(str(size), (size,), rate) for size, rate in rates], self.count)

    def with_group(self, group: Group) -> Kind:
        """The same with one more group."""
        return replace(self, groups={**self.groups, group.name: group})

    def lowered(self, gpus: int, rate_per_s: float) -> Kind:
        """The same, knowing that no group of so many accelerators carries a rate."""
        known = min(rate_per_s, self.ceilings.get(gpus, inf))
        return replace(self, ceilings={**self.ceilings, gpus: known})


@dataclass(frozen=True, slots=True)
class Cluster:
    """All types, and the load to serve: None asks for as much as can be served."""

    kinds: tuple[Kind, ...]
    load_per_s: float | None
    tolerance: float

    def stocks(self) -> tuple[Stock, ...]:
        """The stocks worth having, cheapest first."""
        return frontier([kind.carried for kind in self.kinds], [kind.price for kind in self.kinds])

    def best(self) -> Stock | None:
        """The stock that serves the most, or the cheapest that serves the load; None when none does."""
        if self.load_per_s is not None:
            return cheapest(self.stocks(), self.load_per_s)
        whole = [kind.carried for kind in self.kinds]
        units = tuple(_fewest(each) for each in whole)
        return _stock(whole, units, self.kinds)

    def room(self) -> float:
        """Factor by which every packing may be better without changing the answer, the tolerance included.

        At least 1; infinite when nothing could be cheaper.
        """
        if self.load_per_s is None:
            return 1 + self.tolerance
        best, stocks = self.best(), self.stocks()
        most = (
            stocks[-1].load
            if best is None
            else best_below(stocks, best.cost * (1 - Fraction(self.tolerance)))
        )
        return float(Fraction(self.load_per_s) / most) * JUST_BELOW if most else inf

    def thresholds(self, index: int) -> list[float]:
        """Of one type, by accelerators of a group, the rate that must be ruled out for the answer to hold.

        No group carrying more, no packing is better by more than `room`: packings are superadditive.
        """
        best, room = self.kinds[index].carried.best, self.room()
        return [float(load) * room if load else 0.0 for load in best]

    def bound(self) -> float:
        """No plan serves more (`load_per_s` None) or costs less; infinite or 0 where nothing is known."""
        tables = [kind.thinkable for kind in self.kinds]
        known = [each for each in tables if each is not None]
        if self.load_per_s is None:
            if len(known) < len(tables):
                return inf
            return float(sum((each.best[-1] for each in known), Fraction(0)))
        if len(known) < len(tables):
            return 0.0
        found = cheapest(frontier(known, [kind.price for kind in self.kinds]), self.load_per_s)
        return inf if found is None else float(found.cost)


def _fewest(packed: Table) -> int:
    """The fewest units that carry as much as all."""
    return next(units for units, load in enumerate(packed.best) if load == packed.best[-1])


def _stock(tables: list[Table], units: tuple[int, ...], kinds: tuple[Kind, ...]) -> Stock:
    load = sum((each.best[u] for each, u in zip(tables, units, strict=True)), Fraction(0))
    cost = sum((Fraction(kind.price) * u for kind, u in zip(kinds, units, strict=True)), Fraction(0))
    return Stock(units, cost, load)
