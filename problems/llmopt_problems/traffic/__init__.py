"""Traffic: requests drawn from its description, and its summary for the metric expressions."""

from .cutting import first_requests, first_seconds
from .requests import Requests, Workload
from .sampling import BLOCK_TOKENS, sample
from .saving import save
from .summary import ClassSummary, TrafficSummary, longest_request, traffic_summary

__all__ = [
    "BLOCK_TOKENS",
    "ClassSummary",
    "Requests",
    "TrafficSummary",
    "Workload",
    "first_requests",
    "first_seconds",
    "longest_request",
    "sample",
    "save",
    "traffic_summary",
]
