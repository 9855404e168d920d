"""The kinds of problems, by what their `kind` says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

from pydantic import Field

from .cluster import ClusterProblem
from .problem import Problem

PlanProblem: TypeAlias = ClusterProblem
"""A problem whose answer is a plan of many groups."""

AnyProblem: TypeAlias = Problem | PlanProblem
"""A problem file of any kind."""

TaggedProblem = Annotated[AnyProblem, Field(discriminator="kind")]

KINDS: Mapping[str, type[AnyProblem]] = MappingProxyType(
    {"deployment": Problem, "mixed": ClusterProblem, "sizing": ClusterProblem}
)
"""The section that a file of each kind is."""
