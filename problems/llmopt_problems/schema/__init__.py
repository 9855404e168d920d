"""The schema of a problem file. `Problem` is the whole; its sections are exported for annotations."""

from .cluster import ClusterProblem, Requests
from .domains import CountDomain, CountRange, domain_of
from .kinds import KINDS, AnyProblem, PlanProblem, TaggedProblem
from .problem import Limits, Problem, Verification
from .resources import AcceleratorOffer, Engine, Hardware, ModelChoice
from .scheduling import GrowthSettings, SchedulingSettings
from .search import Search
from .service import Objective, ServiceLevel
from .serving import CacheSettings, RoutingSettings
from .speculation import SpeculationSettings
from .traffic import (
    BatchArrivals,
    ClosedLoop,
    ConstantLength,
    Conversation,
    CurvePoint,
    DayCurveArrivals,
    DeterministicArrivals,
    EmpiricalLength,
    ExponentialLength,
    GammaArrivals,
    Length,
    LognormalLength,
    NormalLength,
    OnOffArrivals,
    OpenArrivals,
    PoissonArrivals,
    RequestClass,
    SharedPrefix,
    SinusoidArrivals,
    TraceArrivals,
    Traffic,
    UniformLength,
    WeibullArrivals,
    ZipfLength,
)

__all__ = [
    "KINDS",
    "AcceleratorOffer",
    "AnyProblem",
    "BatchArrivals",
    "CacheSettings",
    "ClosedLoop",
    "ClusterProblem",
    "ConstantLength",
    "Conversation",
    "CountDomain",
    "CountRange",
    "CurvePoint",
    "DayCurveArrivals",
    "DeterministicArrivals",
    "EmpiricalLength",
    "Engine",
    "ExponentialLength",
    "GammaArrivals",
    "GrowthSettings",
    "Hardware",
    "Length",
    "Limits",
    "LognormalLength",
    "ModelChoice",
    "NormalLength",
    "Objective",
    "OnOffArrivals",
    "OpenArrivals",
    "PlanProblem",
    "PoissonArrivals",
    "Problem",
    "RequestClass",
    "Requests",
    "RoutingSettings",
    "SchedulingSettings",
    "Search",
    "ServiceLevel",
    "SharedPrefix",
    "SinusoidArrivals",
    "SpeculationSettings",
    "TaggedProblem",
    "TraceArrivals",
    "Traffic",
    "UniformLength",
    "Verification",
    "WeibullArrivals",
    "ZipfLength",
    "domain_of",
]
