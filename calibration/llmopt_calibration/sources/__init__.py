"""Readers of measured operator times: one file a format, one `Measurements` a law family."""

from llmopt_calibration.sources.aiconfigurator import OperatorTables, find_tables
from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.families import read_family, readable_families
from llmopt_calibration.sources.measurements import Measurements, Provenance
from llmopt_calibration.sources.reading import Wanted, read_source, read_sources

__all__ = [
    "Measurements",
    "OperatorTables",
    "Provenance",
    "SourceError",
    "Wanted",
    "find_tables",
    "read_family",
    "read_source",
    "read_sources",
    "readable_families",
]
