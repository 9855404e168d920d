"""The page's sentences: what was asked, what is recommended, why, and how far the proof goes."""

from __future__ import annotations

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.result import Point, Result, Status
from llmopt_problems import Problem

SUPERLATIVE = {"minimize": "lowest", "maximize": "highest"}


def question(problem: Problem) -> str:
    """The problem in a sentence or two."""
    model = problem.model
    offers = " or ".join(
        f"up to {offer.count} {offer.name} at ${offer.price_usd_per_h:g} an hour"
        for offer in problem.hardware.accelerators
    )
    levels = " and ".join(fmt.level_text(level) for level in problem.slo)
    within = f" with {levels}" if levels else ""
    aims = ", then ".join(f"{each.sense} {fmt.metric_label(each.key)}" for each in problem.objectives)
    return (
        f"How should {model.name or model.config} ({model.weights} weights, {model.kv_cache} KV cache) be "
        f"served by {problem.engine} on {offers}, for {_traffic(problem)}{within}? The aim: {aims}."
    )


def _traffic(problem: Problem) -> str:
    traffic = problem.traffic
    arrivals = traffic.arrivals
    rate = getattr(arrivals, "rate_per_s", None)
    users = getattr(arrivals, "concurrency", None)
    if rate is not None:
        return f"{fmt.number(rate)} requests a second ({arrivals.process.capitalize()} arrivals)"
    if users is not None:
        return f"{users:,} users who each wait for their answer"
    return f"a traffic of {arrivals.process} arrivals"


def recommendation(result: Result) -> str:
    """What to launch, in a sentence."""
    aim = fmt.metric_label(result.objectives[0])
    many = len(result.front) > 1
    best_of = f"Of {len(result.front)} verified deployments this one" if many else "The verified deployment"
    return f"{best_of} has the {SUPERLATIVE[result.senses[0]]} {aim}:"


def recommended(result: Result) -> list[str]:
    """The parts of the recommended deployment."""
    return fmt.deployment_sentences(result.front[0].deployment)


def reasons(result: Result) -> list[str]:
    """Why it is recommended: the bound, what binds, and what the next one costs."""
    best = result.front[0]
    said = [_bound(best, result)]
    if best.binding:
        said.append(f"What binds: {', '.join(best.binding)}.")
    else:
        said.append("No service level is within 2% of its bound: the choices themselves are discrete.")
    if len(result.front) > 1:
        said.append(_next(result))
    return said


def _bound(best: Point, result: Result) -> str:
    aim, name = result.objectives[0], fmt.metric_label(result.objectives[0])
    if result.status is Status.PROVEN:
        return f"{result.message or result.status.sentence}"
    bound = fmt.metric_value(aim, best.bound)
    return f"{result.status.sentence} The proven bound of {name} is {bound}, a gap of {fmt.share(best.gap)}."


def _next(result: Result) -> str:
    first, second = result.front[:2]
    changes = []
    for name in result.objectives:
        if name in first.simulated and name in second.simulated:
            before, after = (fmt.metric_value(name, point.simulated[name].value) for point in (first, second))
            changes.append(f"{fmt.metric_label(name)} {after} instead of {before}")
    return f"The next one, {fmt.deployment_text(second.deployment)}, trades {' for '.join(changes)}."


def space(result: Result) -> str:
    """How large the search was and how much of it was simulated."""
    simulated = len(result.front) + len(result.cut)
    return (
        f"{result.space_size:,} combinations were searched in {fmt.duration(result.seconds)} and "
        f"{len(result.rounds)} rounds. Below are {simulated} deployments with their simulation, "
        f"{len(result.front)} of them verified and best."
    )
