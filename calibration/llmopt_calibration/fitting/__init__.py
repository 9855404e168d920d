"""Fits of the laws to measured operator times."""

from llmopt_calibration.fitting.fit import Fit, fit, held_out_mask, law_function

__all__ = ["Fit", "fit", "held_out_mask", "law_function"]
