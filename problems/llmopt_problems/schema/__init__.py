"""The schema of a problem file. `Problem` is the whole; its sections are exported for annotations."""

from .domains import CountDomain, CountRange, domain_of
from .problem import Limits, Problem, Verification
from .resources import AcceleratorOffer, Engine, Hardware, ModelChoice
from .search import Search
from .service import Objective, ServiceLevel
from .traffic import (
    ClosedLoop,
    ConstantLength,
    DeterministicArrivals,
    ExponentialLength,
    GammaArrivals,
    Length,
    LognormalLength,
    PoissonArrivals,
    SharedPrefix,
    TraceArrivals,
    Traffic,
    UniformLength,
)

__all__ = [
    "AcceleratorOffer",
    "ClosedLoop",
    "ConstantLength",
    "CountDomain",
    "CountRange",
    "DeterministicArrivals",
    "Engine",
    "ExponentialLength",
    "GammaArrivals",
    "Hardware",
    "Length",
    "Limits",
    "LognormalLength",
    "ModelChoice",
    "Objective",
    "PoissonArrivals",
    "Problem",
    "Search",
    "ServiceLevel",
    "SharedPrefix",
    "TraceArrivals",
    "Traffic",
    "UniformLength",
    "Verification",
    "domain_of",
]
