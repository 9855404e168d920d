"""Readers of measured operator times: one function a table format, one `Measurements` a law family."""

from llmopt_calibration.sources.aiconfigurator import OperatorTables, find_tables
from llmopt_calibration.sources.measurements import Measurements, Provenance
from llmopt_calibration.sources.operators import read_family, readable_families

__all__ = ["Measurements", "OperatorTables", "Provenance", "find_tables", "read_family", "readable_families"]
