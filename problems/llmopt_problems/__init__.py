"""What is asked: the problem schema and its reader, the catalogs, traffic, traces and example problems."""

from .errors import Fault, ProblemError
from .loading import json_schema, load
from .schema import Problem

__all__ = ["Fault", "Problem", "ProblemError", "json_schema", "load"]
