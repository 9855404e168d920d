"""Whether a problem can be answered at all: the weights on the accelerators, the requests in the context.

These rules span the sections and the catalogs, so they are looked at once every name is known. They are
necessary conditions only: a weight matrix split perfectly, and nothing else in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import catalog
from .errors import Fault, ProblemError, RuleError
from .hardware.spec import AcceleratorSpec
from .models.facts import weight_bytes
from .models.spec import ModelSpec, MoeFfn
from .schema import AnyProblem, ClusterProblem, Problem
from .schema.resources import AcceleratorOffer
from .schema.speculation import LOOKUP, MTP
from .traffic import TrafficSummary, longest_request


def model_of(problem: Problem) -> ModelSpec:
    """The model that a problem names or whose config it points to."""
    if problem.model.config is not None:
        return catalog.model_from_config(problem.model.config)
    assert problem.model.name is not None, "the schema requires a name or a config"
    return catalog.model(problem.model.name)


def unfit(problem: AnyProblem) -> Iterator[RuleError]:
    """Every rule of this module that the problem breaks, with the place of the value at fault."""
    yield from _unfit(problem if isinstance(problem, Problem) else _deployment(problem))


def _deployment(problem: ClusterProblem) -> Problem:
    """The deployment problem of a cluster's largest group: it has the sections that faults point at."""
    first = problem.hardware.accelerators[0]
    return problem.group_problem(first, 1.0).model_copy(update={"hardware": problem.hardware})


def _unfit(problem: Problem) -> Iterator[RuleError]:
    model = model_of(problem)
    precision = problem.model.weights
    needed = weight_bytes(model, model.native_weights if precision == "native" else precision)
    offers = [(offer, catalog.accelerator(offer.name)) for offer in problem.hardware.accelerators]
    if not any(needed / _largest_world(problem, o, a) <= _usable(problem, a) for o, a in offers):
        yield _too_large(problem, model, needed, offers)
    yield from _unknown_draft(problem)
    yield from _unfit_experts(problem, model)
    longest = longest_request(problem.traffic)
    if longest is not None and longest > model.max_context_tokens:
        remedy = f"use inputs and outputs of at most {model.max_context_tokens} tokens together"
        yield RuleError(
            f"the longest request has {longest} tokens, more than the context of {model.name}",
            "context-too-short",
            f"{remedy}: lower a mean or set max",
            ("traffic", "classes" if problem.traffic.classes else "input_tokens"),
        )


def _unfit_experts(problem: Problem, model: ModelSpec) -> Iterator[RuleError]:
    """Counts for another number of experts, or experts chosen more often than once a token."""
    settings = problem.search.experts
    if settings is None:
        return
    mixtures = {group.ffn: None for group in model.layers if isinstance(group.ffn, MoeFfn)}
    if not mixtures:
        what, remedy = f"{model.name} has no experts", "remove search.experts"
        yield RuleError(what, "experts-none", remedy, ("search", "experts"))
    for ffn in mixtures:
        if settings.counts is not None and len(settings.counts) != ffn.experts:
            what = f"{len(settings.counts)} counts; {model.name} has {ffn.experts} experts a layer"
            yield RuleError(what, "experts-counts", "give one for each", ("search", "experts", "counts"))
        elif max(settings.use().shares(ffn.experts)) * ffn.experts_per_token > 1 + 1e-9:
            what = f"an expert would be chosen more than once by a token that chooses {ffn.experts_per_token}"
            yield RuleError(what, "experts-share", "use a flatter popularity", ("search", "experts"))


def _unknown_draft(problem: Problem) -> Iterator[RuleError]:
    speculation = problem.search.speculation
    if speculation is None or speculation.draft in (MTP, LOOKUP):
        return
    known = {name.casefold() for name in catalog.model_names()}
    if speculation.draft.casefold() not in known:
        what = f"no draft is called {speculation.draft}"
        remedy = "write mtp, lookup, or the name of a model (`llmopt catalog`)"
        yield RuleError(what, "draft-unknown", remedy, ("search", "speculation", "draft"))


def require_context(problem: Problem, model: ModelSpec, traffic: TrafficSummary) -> None:
    """ProblemError when a trace holds requests that are longer than the model's context."""
    longest = traffic.max_input_tokens + traffic.max_output_tokens
    if traffic.requests is not None and longest > model.max_context_tokens:
        file = str(getattr(problem.traffic.arrivals, "file", ""))
        what = f"its longest input and output have {longest} tokens, the context of {model.name} fewer"
        remedy = (
            f"choose a model with more than {model.max_context_tokens} tokens of context, or another trace"
        )
        raise ProblemError(Fault(what, "context-too-short", remedy, file=file))


def _largest_world(problem: Problem, offer: AcceleratorOffer, accelerator: AcceleratorSpec) -> int:
    """Most accelerators that one instance may have."""
    search = problem.search.with_defaults(True, offer.node_gpus or accelerator.gpus_per_node, offer.count)
    assert search.tp is not None, "with_defaults fills every domain"
    worlds = [tp * pp for tp in search.tp.values for pp in search.pp.values]
    return max([world for world in worlds if world <= offer.count], default=1)


def _usable(problem: Problem, accelerator: AcceleratorSpec) -> float:
    return accelerator.hbm_bytes * problem.search.memory_fraction


def _too_large(
    problem: Problem,
    model: ModelSpec,
    needed: float,
    offers: list[tuple[AcceleratorOffer, AcceleratorSpec]],
) -> RuleError:
    listed = "; ".join(
        f"{offer.name}: {needed / _largest_world(problem, offer, accelerator) / 1e9:.0f} GB on each of "
        f"{_largest_world(problem, offer, accelerator)}, {_usable(problem, accelerator) / 1e9:.0f} GB usable"
        for offer, accelerator in offers
    )
    return RuleError(
        f"no accelerator holds the {needed / 1e9:.0f} GB of {model.name} at any tp and pp ({listed})",
        "model-too-large",
        "allow a larger tp or pp, offer more or larger accelerators, or use a smaller weight precision",
        ("hardware", "accelerators"),
    )
