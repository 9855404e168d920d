"""Readers of measured operator times: one function a table format, one `Measurements` a law family."""

from llmopt_calibration.sources.aiconfigurator import OperatorTables, find_tables
from llmopt_calibration.sources.families import read_family, readable_families
from llmopt_calibration.sources.measurements import Measurements, Provenance

__all__ = ["Measurements", "OperatorTables", "Provenance", "find_tables", "read_family", "readable_families"]
