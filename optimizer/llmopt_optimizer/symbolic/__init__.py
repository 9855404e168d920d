"""Metrics as SymPy expressions for people who bring their own solver: evaluate, differentiate, bound, draw,
or take them into a Pyomo model.
"""

from llmopt_optimizer.core.component import Component, EmptyComponent
from llmopt_optimizer.core.program import Limit, Objective
from llmopt_optimizer.symbolic.baselines import epsilon_constraint, grid_search, scipy_search, weighted_sum
from llmopt_optimizer.symbolic.component import pyomo_component
from llmopt_optimizer.symbolic.derivatives import Gradient, gradient
from llmopt_optimizer.symbolic.limits import bound, decision_bound, engine_rules, ratio_bound
from llmopt_optimizer.symbolic.model import SymbolicModel, evaluate, frozen_table, states_at, symbolic_model

__all__ = [
    "Component",
    "EmptyComponent",
    "Gradient",
    "Limit",
    "Objective",
    "SymbolicModel",
    "bound",
    "decision_bound",
    "engine_rules",
    "epsilon_constraint",
    "evaluate",
    "frozen_table",
    "gradient",
    "grid_search",
    "pyomo_component",
    "ratio_bound",
    "scipy_search",
    "states_at",
    "symbolic_model",
    "weighted_sum",
]
