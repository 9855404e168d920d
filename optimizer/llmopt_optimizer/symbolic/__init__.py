"""Metrics as SymPy expressions for people who bring their own solver: evaluate, differentiate, bound,
draw.
"""

from llmopt_optimizer.symbolic.derivatives import Gradient, gradient
from llmopt_optimizer.symbolic.limits import bound, decision_bound, engine_rules, ratio_bound
from llmopt_optimizer.symbolic.model import SymbolicModel, evaluate, frozen_table, states_at, symbolic_model

__all__ = [
    "Gradient",
    "SymbolicModel",
    "bound",
    "decision_bound",
    "engine_rules",
    "evaluate",
    "frozen_table",
    "gradient",
    "ratio_bound",
    "states_at",
    "symbolic_model",
]
