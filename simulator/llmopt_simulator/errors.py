"""What can go wrong: an input that no run can use, and a run that broke a law."""

from __future__ import annotations


class SimulationError(ValueError):
    """A workload, deployment or service model that cannot be simulated; says which value and what to do."""


class InvariantError(AssertionError):
    """A run that contradicts itself: a fault of the simulator, never of its input. Names the invariant."""
