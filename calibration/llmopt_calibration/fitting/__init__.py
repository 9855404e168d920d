"""Fits of the laws to measured operator times."""

from llmopt_calibration.fitting.calibrate import Calibration, FamilyFit, calibrate
from llmopt_calibration.fitting.fit import Fit, fit, held_out_mask, law_function

__all__ = ["Calibration", "FamilyFit", "Fit", "calibrate", "fit", "held_out_mask", "law_function"]
