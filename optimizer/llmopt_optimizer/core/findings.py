"""What the core says beside an optimum: checks of a claim, and the cheapest change that mends a conflict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One independent check of a solver's claim."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The smallest change of one limit that would make the problem feasible, all others kept."""

    limit: str
    asked: float
    needed: float | None
    """Value at which a deployment exists; None when no value of this limit alone is enough."""
    unit: str
