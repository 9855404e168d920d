"""A problem with its names looked up: the model, the accelerators and the laws that the formulas are made of.

A `Scenario` is what a problem means before any decision: one model in one precision, and a `Site` for each
accelerator on offer with its fitted coefficients and its filled-in search domains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmopt_calibration import coefficients
from llmopt_calibration.coefficients import CoefficientError, CoefficientSet
from llmopt_calibration.engine import engine_layer
from llmopt_calibration.precision import Precision
from llmopt_problems import Problem, catalog
from llmopt_problems.errors import Fault, ProblemError
from llmopt_problems.experts import ExpertUse
from llmopt_problems.fit import model_of, require_context
from llmopt_problems.hardware.spec import AcceleratorSpec
from llmopt_problems.models.spec import ModelSpec, MoeFfn
from llmopt_problems.schema.resources import AcceleratorOffer
from llmopt_problems.schema.search import Search
from llmopt_problems.traffic import TrafficSummary, traffic_summary


@dataclass(frozen=True, slots=True)
class Site:
    """One accelerator type on offer."""

    accelerator: AcceleratorSpec
    available: int
    usd_per_gpu_hour: float
    coefficients: CoefficientSet
    search: Search
    """The problem's search with every domain filled in for this accelerator."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A problem, resolved."""

    problem: Problem
    model: ModelSpec
    precision: Precision
    sites: tuple[Site, ...]
    traffic: TrafficSummary

    @property
    def experts(self) -> ExpertUse | None:
        """How tokens use experts, where the problem says so."""
        settings = self.problem.search.experts
        return settings.use() if settings is not None else None

    @property
    def redundant_experts(self) -> int:
        """Copies of experts that the expert groups of an engine hold together."""
        return self.experts.redundant if self.experts is not None else 0

    def site(self, accelerator: str) -> Site:
        """The site with accelerators of that name."""
        return next(site for site in self.sites if site.accelerator.name == accelerator)


def resolve(problem: Problem) -> Scenario:
    """Look up everything that `problem` names; `ProblemError` for a name that no catalog has."""
    model = model_of(problem)
    weights = problem.model.weights
    precision = Precision(model.native_weights if weights == "native" else weights, problem.model.kv_cache)
    sites = tuple(_site(problem, offer, model) for offer in problem.hardware.accelerators)
    traffic = traffic_summary(problem.traffic)
    require_context(problem, model, traffic)
    return Scenario(problem, model, precision, sites, traffic)


def _coefficients(problem: Problem, accelerator: str) -> CoefficientSet:
    try:
        fitted = coefficients.load(accelerator, problem.engine, problem.coefficients)
    except CoefficientError as error:
        fault = Fault(str(error), "coefficients-unusable", "fix or remove that file", key="coefficients")
        raise ProblemError(fault) from error
    return fitted.lengthened(_margin(problem))


def _margin(problem: Problem) -> float:
    """How much longer steps are taken to be for the confidence asked of the laws; never less than 1."""
    asked = problem.verification.law_confidence
    return 1.0 if asked is None else max(1.0, engine_layer(problem.engine).tpot_errors.quantile(asked))


def _site(problem: Problem, offer: AcceleratorOffer, model: ModelSpec) -> Site:
    listed = catalog.accelerator(offer.name)
    accelerator = replace(
        listed,
        gpus_per_node=offer.node_gpus or listed.gpus_per_node,
        scale_up=catalog.link(offer.scale_up) if offer.scale_up else listed.scale_up,
        scale_up_gpus=offer.node_gpus or listed.scale_up_gpus,
        network=catalog.link(offer.network) if offer.network else listed.network,
    )
    moe = any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    return Site(
        accelerator=accelerator,
        available=offer.count,
        usd_per_gpu_hour=offer.price_usd_per_h,
        coefficients=_coefficients(problem, listed.name),
        search=problem.search.with_defaults(moe, accelerator.gpus_per_node, offer.count),
    )
