"""SCIP for mixed-integer nonlinear models.

The c-MIR separator of SCIP 10.0 gives wrong certificates on models of this shape; without `aggregation`
cuts none was wrong on 190 trials. Pyomo reads the log through a pipe with a thread of its own, which needs
Python's lock while SCIP runs: SCIP is called without it, or a full pipe stops both for ever. The log is
off, but the LP solver writes its complaints all the same.
"""

from __future__ import annotations

import time
from math import inf, nan
from typing import Any

import pyomo.environ as pyo
from pyomo.contrib.solver.common.factory import SolverFactory

from .outcome import Outcome, SolveStatus, outcome_of

OPTIONS = {
    "display/verblevel": 0,
    "numerics/feastol": 1e-7,
    "separating/aggregation/freq": -1,
    "constraints/nonlinear/reformbinprods": False,
}

SCIP_ERROR = "SCIP: "
"""How the messages of SCIP's own errors begin, such as "SCIP: error in LP solver!"."""


class _Unlocked:
    """A SCIP model that is optimised without Python's global lock, and otherwise is the model."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def optimize(self) -> None:
        """Optimise; other threads run meanwhile."""
        self._model.optimizeNogil()


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
        create = self._solver._create_solver_model

        def create_unlocked(model: Any, config: Any) -> tuple[Any, Any, bool]:
            made, loader, has_objective = create(model, config)
            return _Unlocked(made), loader, has_objective

        self._solver._create_solver_model = create_unlocked

    def solve(self, seconds: float | None) -> Outcome:
        """Solve the model as it now is, within so many seconds; loads the best point into its variables."""
        self._solver.config.time_limit = seconds
        start = time.monotonic()
        try:
            results = self._solver.solve(self._model)
        except Exception as error:  # pyscipopt raises nothing narrower when SCIP gives up
            if not str(error).startswith(SCIP_ERROR):
                raise
            return Outcome(SolveStatus.ERROR, nan, -inf, time.monotonic() - start, str(error))
        return outcome_of(results, time.monotonic() - start)

    def update_bounds(self, variables: list[Any]) -> None:
        """Nothing to do: the next solve reads the model."""

    def add(self, constraint: Any) -> None:
        """Nothing to do: the next solve reads the model."""

    def remove(self, constraint: Any) -> None:
        """Nothing to do: the next solve reads the model."""
