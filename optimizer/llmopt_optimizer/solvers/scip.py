"""SCIP for mixed-integer nonlinear models.

The c-MIR separator of SCIP 10.0 gives wrong certificates on models of this shape; without `aggregation`
cuts none was wrong on 190 trials. The log is off because Pyomo's reader dead-locks once it fills the pipe.
"""

from __future__ import annotations

import time
from typing import Any

import pyomo.environ as pyo
from pyomo.contrib.solver.common.factory import SolverFactory

from .outcome import Outcome, outcome_of

OPTIONS = {
    "display/verblevel": 0,
    "numerics/feastol": 1e-7,
    "separating/aggregation/freq": -1,
    "constraints/nonlinear/reformbinprods": False,
}


class ScipBackEnd:
    """SCIP; the model is passed afresh at each solve."""

    name = "SCIP"
    linear_only = False

    def __init__(self, model: pyo.ConcreteModel) -> None:
        self._model = model
        self._solver = SolverFactory("scip_direct")
        config = self._solver.config
        config.load_solutions = False
        config.raise_exception_on_nonoptimal_result = False
        config.solver_options.update(OPTIONS)

    def solve(self, seconds: float | None) -> Outcome:
        """Solve the model as it now is, within so many seconds; loads the best point into its variables."""
        self._solver.config.time_limit = seconds
        start = time.monotonic()
        results = self._solver.solve(self._model)
        return outcome_of(results, time.monotonic() - start)

    def update_bounds(self, variables: list[Any]) -> None:
        """Nothing to do: the next solve reads the model."""

    def add(self, constraint: Any) -> None:
        """Nothing to do: the next solve reads the model."""

    def remove(self, constraint: Any) -> None:
        """Nothing to do: the next solve reads the model."""
