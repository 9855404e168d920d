"""What is asked: the problem schema and its reader, the catalogs, traffic, traces and example problems."""

from .errors import Fault, ProblemError
from .loading import json_schema, load, load_any
from .schema import AnyProblem, Problem

__all__ = ["AnyProblem", "Fault", "Problem", "ProblemError", "json_schema", "load", "load_any"]
