"""How finely cost vectors are told apart: one rule for enumeration, Pareto boxes and their checks.

A MILP solver takes a binary within 1e-9 of an integer for that integer, so a sum of costs may be better
than the chosen one by about 1e-9 of the costs that are mixed. Costs closer than `RESOLUTION`, relative to
the larger of the cost and of the objective's best possible value, are therefore one: told apart, they would
be told apart by the solver's slack and not by the model. (HiGHS 1.15 has called boxes empty whose edge was
closer to a point.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from .lowering import Floats
from .monotone import Range, bounds
from .preparation import SystemTable
from .program import Program

RESOLUTION = 1e-8


@dataclass(frozen=True, slots=True)
class CostScale:
    """What interval arithmetic over the tables says of each signed cost."""

    ideal: Floats
    """Lower bounds, -inf where unknown."""
    magnitude: Floats
    """Largest absolute values, 1 where unknown or zero."""
    worst: Floats
    """Upper bounds, inf where unknown."""

    def step(self, costs: Floats) -> Floats:
        """The difference [..., objectives] below which a cost is not told apart from `costs`."""
        known = np.where(np.isfinite(self.ideal), np.abs(self.ideal), self.magnitude)
        floor = np.maximum(known, 1e-4 * self.magnitude)
        return RESOLUTION * np.maximum(np.abs(costs), floor)

    def better(self, costs: Floats, than: Floats) -> NDArray[np.bool_]:
        """Whether `costs` [..., objectives] is better than `than` in some objective."""
        return np.any(costs < than - self.step(than), axis=-1)


def cost_scale(program: Program, tables: tuple[SystemTable, ...]) -> CostScale:
    """The scale of the program's signed costs over all rows of the tables."""
    used = [table for table in tables if table.size]
    spans = [
        [bounds(o.sign * table.expression(table.objectives[k]), table.ranges()) for table in used]
        for k, o in enumerate(program.objectives)
    ]
    ideal = [min((low for low, _ in listed), default=-inf) for listed in spans]
    worst = [max((high for _, high in listed), default=inf) for listed in spans]
    return CostScale(np.array(ideal), np.array([_magnitude(listed) for listed in spans]), np.array(worst))


def _magnitude(spans: list[Range]) -> float:
    largest = max((abs(end) for span in spans for end in span), default=0.0)
    return largest if largest > 0 and isfinite(largest) else 1.0
