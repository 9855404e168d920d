"""HiGHS for mixed-integer linear models, kept in memory between solves.

Tolerances are tightened to 1e-9: models are scaled so that numbers lie in about 1 to 1e4, and every answer
is checked against exact numbers afterwards. Pyomo's automatic change detection is off (it walks the whole
model at each solve); callers say what changed.
"""

from __future__ import annotations

import time
from typing import Any

import pyomo.environ as pyo
from pyomo.contrib.solver.common.factory import SolverFactory

from .outcome import Outcome, outcome_of

OPTIONS = {
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-9,
    "mip_feasibility_tolerance": 1e-9,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
    "random_seed": 1,
}


class HighsBackEnd:
    """HiGHS with one persistent model."""

    name = "HiGHS"
    linear_only = True

    def __init__(self, model: pyo.ConcreteModel) -> None:
        self._model = model
        self._solver = SolverFactory("highs")
        config = self._solver.config
        config.load_solutions = False
        config.raise_exception_on_nonoptimal_result = False
        config.solver_options.update(OPTIONS)
        for name in config.auto_updates:
            config.auto_updates[name] = False
        self._solver.set_instance(model)

    def solve(self, seconds: float | None) -> Outcome:
        """Solve the model as it now is, within so many seconds; loads the best point into its variables."""
        self._solver.config.time_limit = seconds
        start = time.monotonic()
        results = self._solver.solve(self._model)
        return outcome_of(results, time.monotonic() - start)

    def update_bounds(self, variables: list[Any]) -> None:
        """Tell HiGHS that the bounds of these variables have changed."""
        self._solver.update_variables(variables)

    def add(self, constraint: Any) -> None:
        """Tell HiGHS of a constraint that was added to the model."""
        self._solver.add_constraints([constraint])

    def remove(self, constraint: Any) -> None:
        """Tell HiGHS that a constraint goes; call before deleting it from the model."""
        self._solver.remove_constraints([constraint])
