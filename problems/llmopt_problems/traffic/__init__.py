"""Traffic: requests drawn from its description, and its summary for the metric expressions."""

from .requests import Requests, Workload
from .sampling import BLOCK_TOKENS, sample
from .summary import TrafficSummary, traffic_summary

__all__ = ["BLOCK_TOKENS", "Requests", "TrafficSummary", "Workload", "sample", "traffic_summary"]
