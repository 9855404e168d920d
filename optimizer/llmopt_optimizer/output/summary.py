"""What a problem asks for, in a few lines that a person can check against their intention."""

from __future__ import annotations

from collections.abc import Mapping

from llmopt_optimizer.output.formatting import duration, level_text, metric_label
from llmopt_problems import AnyProblem, Problem
from llmopt_problems.schema import ClusterProblem, Hardware, ModelChoice, Objective, Requests, Traffic


def any_summary(problem: AnyProblem) -> str:
    """A problem of any kind in lines of `key: value`."""
    return problem_summary(problem) if isinstance(problem, Problem) else cluster_summary(problem)


def cluster_summary(problem: ClusterProblem) -> str:
    """A cluster problem in lines of `key: value`."""
    aim = "the most requests a second" if problem.kind == "mixed" else f"least {problem.minimize or 'cost'}"
    lines = {
        "problem": problem.name,
        "asked": f"{problem.kind}: {aim}, groups of at most {problem.group_gpus} accelerators",
        "model": _model(problem.model),
        "hardware": _hardware(problem.hardware),
        "traffic": _traffic(problem.traffic),
        "service levels": "; ".join(map(level_text, problem.slo)),
        "modes": ", ".join(problem.search.modes),
        "verification": _verification(problem),
    }
    return _aligned(lines)


def problem_summary(problem: Problem) -> str:
    """The problem in lines of `key: value`."""
    lines = {
        "problem": problem.name,
        "model": _model(problem.model),
        "hardware": _hardware(problem.hardware),
        "traffic": _traffic(problem.traffic),
        "service levels": "; ".join(map(level_text, problem.slo)) or "none",
        "objectives": "; ".join(map(_objective, problem.objectives)),
        "modes": ", ".join(problem.search.modes),
        "verification": _verification(problem),
    }
    return _aligned(lines)


def _aligned(lines: Mapping[str, str]) -> str:
    width = max(map(len, lines)) + 2
    return "\n".join(f"{key + ':':<{width}}{value}" for key, value in lines.items())


def _model(choice: ModelChoice) -> str:
    return f"{choice.name or choice.config}, {choice.weights} weights, {choice.kv_cache} KV cache"


def _hardware(hardware: Hardware) -> str:
    offers = hardware.accelerators
    return "; ".join(f"up to {offer.count} {offer.name} at {offer.price_usd_per_h:g} $/h" for offer in offers)


def _traffic(traffic: Traffic | Requests) -> str:
    """The traffic section as the file would give it: process and lengths with their parameters."""
    sections = traffic.model_dump(mode="json", exclude_none=True)
    return "; ".join(f"{key} {_values(value)}" for key, value in sections.items())


def _values(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(str(entry) if name in _NAMING else f"{name} {entry}" for name, entry in value.items())


_NAMING = ("process", "distribution")
"""Keys whose value says it all."""


def _objective(objective: Objective) -> str:
    return f"{objective.sense} {metric_label(objective.key)}"


def _verification(problem: AnyProblem) -> str:
    asked = problem.verification
    runs = f"{asked.replications} simulations of {asked.requests} requests, seed {asked.seed}"
    return f"{runs}, {asked.confidence:.0%} confidence, at most {duration(problem.limits.time_s)}"
