"""What a caller may choose about a run, with the defaults of the engines that are simulated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Router thresholds and the measured part of a run.

    The thresholds are those of SGLang's router (`--cache-threshold`, `--balance-abs-threshold`,
    `--balance-rel-threshold`).
    """

    cache_threshold: float = 0.5
    """Share of the input that must be cached for a request to follow its prefix."""
    balance_abs_threshold: float = 32.0
    """Queues are out of balance when longest − shortest exceeds this and the relative threshold too."""
    balance_rel_threshold: float = 1.0001
    warmup_fraction: float | None = 0.1
    """Share of the requests, the first ones, that no metric counts; None lets MSER-5 find it (`warmup`)."""
