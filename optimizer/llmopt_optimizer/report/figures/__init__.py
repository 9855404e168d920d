"""The plots, as the plain data that the plotting library draws.

Latencies are drawn in milliseconds or seconds, whichever suits the values; other metrics in the unit of their
name.
"""

from .front import front, steps
from .latency import distributions, load
from .machines import memory, minute, phases, utilization
from .parts import Figure

__all__ = ["Figure", "distributions", "front", "load", "memory", "minute", "phases", "steps", "utilization"]
