"""An explanation as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ConfigDict, RootModel

from llmopt_optimizer.explanation.findings import Explanation, Price, Rival, Sensitivity
from llmopt_optimizer.output import formatting as fmt

STRONGEST = 6
"""Parameters shown for each metric; all are in the JSON."""


class ExplanationDocument(RootModel[Explanation]):
    """The JSON form; numbers that are not finite are strings, as in `result.json`."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


def explanation_json(found: Explanation) -> str:
    """The whole explanation as JSON text that ends in a newline."""
    return ExplanationDocument(found).model_dump_json(indent=2) + "\n"


def explanation_text(found: Explanation) -> str:
    """The explanation for a person, section by section; an empty one is left out."""
    sections = (_headline, _conflicts, _prices, _decisions, _parameters, _rivals, _today)
    parts = ["\n".join(lines) for section in sections if (lines := list(section(found)))]
    return "\n\n".join(parts) + "\n"


def _headline(found: Explanation) -> Iterator[str]:
    yield f"{found.problem_name}: {found.status}, aiming at {fmt.metric_label(found.objective)}"
    if found.best is not None:
        yield f"Recommended: {fmt.deployment_text(found.best)}"


def _conflicts(found: Explanation) -> Iterator[str]:
    if found.conflicts:
        yield "These demands cannot hold together:"
        yield from (f"  - {conflict}" for conflict in found.conflicts)
    for change in found.relaxations:
        needed = (
            "no value alone helps" if change.needed is None else fmt.with_unit(change.needed, change.unit)
        )
        yield f"  {change.limit}: asked {fmt.with_unit(change.asked, change.unit)}, feasible at {needed}"


def _prices(found: Explanation) -> Iterator[str]:
    if found.prices:
        yield f"What each level costs in {fmt.metric_label(found.objective)} (solved again with it moved):"
    for price in found.prices:
        yield f"  {price.level}: {_reached(price)}"
        numbers = (("harder", price.tighter), ("easier", price.looser))
        told = [f"{fmt.share(price.moved)} {name} {_value(found, value)}" for name, value in numbers]
        yield f"    now {_value(found, price.now)}, {', '.join(told)}, without {_value(found, price.without)}"


def _reached(price: Price) -> str:
    binding = ", binding" if price.binding else ""
    shadow = price.shadow_price
    slope = "" if shadow is None else f", shadow price {fmt.number(shadow)} for each {price.unit or 'unit'}"
    return f"reached {fmt.with_unit(price.reached, price.unit)}{binding}{slope}"


def _value(found: Explanation, value: float | None) -> str:
    return "infeasible" if value is None else fmt.metric_value(found.objective, value)


def _decisions(found: Explanation) -> Iterator[str]:
    moved = [each for each in found.sensitivities if each.decision]
    if moved:
        yield "What the next value of a decision would change (predicted):"
    for each in moved:
        yield f"  {fmt.metric_label(each.metric)}: {_steps(each)}"


def _steps(each: Sensitivity) -> str:
    now = f"{each.of} {fmt.count(each.value)} gives {fmt.metric_value(each.metric, each.at_value)}"
    told = []
    for step in (each.lower, each.upper):
        if step is not None:
            value = "infeasible" if step.metric is None else fmt.metric_value(each.metric, step.metric)
            told.append(f"{fmt.count(step.to)} {value}")
    return f"{now}; {', '.join(told)}"


def _parameters(found: Explanation) -> Iterator[str]:
    frozen = [each for each in found.sensitivities if each.elasticity is not None]
    if frozen:
        yield "Change of a metric in percent for 1% more of a parameter:"
    for metric in dict.fromkeys(each.metric for each in frozen):
        mine = [(each.of, _elasticity(each)) for each in frozen if each.metric == metric]
        ordered = sorted(mine, key=lambda pair: -abs(pair[1]))[:STRONGEST]
        told = ", ".join(f"{name} {fmt.number(slope)}" for name, slope in ordered)
        yield f"  {fmt.metric_label(metric)}: {told}"


def _elasticity(each: Sensitivity) -> float:
    """By the derivative where the expression has one, else by the steps."""
    exact = each.exact_elasticity
    return (each.elasticity or 0.0) if exact is None else exact


def _rivals(found: Explanation) -> Iterator[str]:
    if found.rivals:
        yield "Next best, and why they lost:"
    for rival in found.rivals:
        yield f"  {fmt.deployment_text(rival.deployment)}: {_lost(found, rival)}"


def _lost(found: Explanation, rival: Rival) -> str:
    how = "simulated" if rival.simulated else "predicted"
    value = f"{fmt.metric_label(found.objective)} {fmt.metric_value(found.objective, rival.objective)} {how}"
    return f"{value}; misses {', '.join(rival.lost)}" if rival.lost else f"{value}, {rival.verdict}"


def _today(found: Explanation) -> Iterator[str]:
    if found.today is None:
        return
    yield f"Today: {fmt.deployment_text(found.today)}"
    if found.today_misses:
        yield f"  It does not keep {', '.join(found.today_misses)}"
    for each in found.comparison:
        best, today = (fmt.metric_value(each.metric, e.value) for e in (each.best, each.today))
        yield f"  {fmt.metric_label(each.metric)}: recommended {best}, today {today}"
