"""What happens: requests against a deployment, event by event, with every number measured.

`simulate` gives a `Run`, `metrics` and `frozen_parameters` read it, `replicate` gives `Evidence`.
"""

from llmopt_simulator.errors import InvariantError, SimulationError
from llmopt_simulator.frozen import frozen_parameters
from llmopt_simulator.intervals import Interval
from llmopt_simulator.levels import ServiceLevel
from llmopt_simulator.measure import metrics
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.replication import (
    Evidence,
    WorkloadSource,
    replicate,
    replicate_until_decided,
    replicate_until_precise,
    verdict,
)
from llmopt_simulator.run import Run, simulate
from llmopt_simulator.service import KvTransfer, PoolService, ServiceModel, StepBounds, step_bounds

__all__ = [
    "Evidence",
    "Interval",
    "InvariantError",
    "KvTransfer",
    "PoolService",
    "Run",
    "ServiceLevel",
    "ServiceModel",
    "SimulationError",
    "SimulationOptions",
    "StepBounds",
    "WorkloadSource",
    "frozen_parameters",
    "metrics",
    "replicate",
    "replicate_until_decided",
    "replicate_until_precise",
    "simulate",
    "step_bounds",
    "verdict",
]
