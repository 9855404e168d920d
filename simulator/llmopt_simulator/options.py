"""What a caller may choose about a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """The measured part of a run."""

    warmup_fraction: float | None = 0.1
    """Share of the requests, the first ones, that no metric counts; None lets MSER-5 find it (`warmup`)."""
