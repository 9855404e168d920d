"""The operators of one forward pass of a model under a parallel layout, as one symbolic step law."""

from llmopt_calibration.precision import Precision
from llmopt_calibration.step.assemble import step_context, step_law
from llmopt_calibration.step.law import Operator, StepLaw
from llmopt_calibration.step.provenance import Extrapolation, extrapolations
from llmopt_calibration.step.rules import LayoutRule, layout_rules, layout_violations
from llmopt_calibration.step.symbols import StepSymbols, SymbolicLayout, symbolic

__all__ = [
    "Extrapolation",
    "LayoutRule",
    "Operator",
    "Precision",
    "StepLaw",
    "StepSymbols",
    "SymbolicLayout",
    "extrapolations",
    "layout_rules",
    "layout_violations",
    "step_context",
    "step_law",
    "symbolic",
]
