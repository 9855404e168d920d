"""What happens: requests against a deployment, event by event, with every number measured.

`simulate` gives a `Run`, `metrics` and `frozen_parameters` read it, `replicate` gives `Evidence`.
"""

from llmopt_simulator.errors import InvariantError, SimulationError
from llmopt_simulator.export import read_requests, request_frame, write_requests
from llmopt_simulator.frozen import frozen_parameters
from llmopt_simulator.intervals import Interval
from llmopt_simulator.levels import ServiceLevel
from llmopt_simulator.measure import metrics
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.replication import (
    Evidence,
    Looks,
    Observed,
    WorkloadSource,
    evidence_of,
    look_until,
    replicate,
    replicate_once,
    replicate_until_decided,
    replicate_until_precise,
    replication_seed,
    verdict,
)
from llmopt_simulator.run import Run, simulate
from llmopt_simulator.series import time_series
from llmopt_simulator.service import (
    ExpertGroups,
    HostTier,
    KvTransfer,
    NearLink,
    PoolService,
    RackLink,
    ServiceModel,
    StepBounds,
    step_bounds,
)
from llmopt_simulator.single_run import run_intervals
from llmopt_simulator.timeline import write_timeline

__all__ = [
    "Evidence",
    "ExpertGroups",
    "HostTier",
    "Interval",
    "InvariantError",
    "KvTransfer",
    "Looks",
    "NearLink",
    "Observed",
    "PoolService",
    "RackLink",
    "Run",
    "ServiceLevel",
    "ServiceModel",
    "SimulationError",
    "SimulationOptions",
    "StepBounds",
    "WorkloadSource",
    "evidence_of",
    "frozen_parameters",
    "look_until",
    "metrics",
    "read_requests",
    "replicate",
    "replicate_once",
    "replicate_until_decided",
    "replicate_until_precise",
    "replication_seed",
    "request_frame",
    "run_intervals",
    "simulate",
    "step_bounds",
    "time_series",
    "verdict",
    "write_requests",
    "write_timeline",
]
