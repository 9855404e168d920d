"""The operators of one forward pass of a model under a parallel layout, as one symbolic step law."""

from llmopt_calibration.step.law import Operator, StepLaw
from llmopt_calibration.step.symbols import StepSymbols, SymbolicLayout

__all__ = ["Operator", "StepLaw", "StepSymbols", "SymbolicLayout"]
