"""The printed plan: what runs where and what it serves, what that costs, and how far the proof goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmopt_optimizer.fleet.plan import PlanResult, PlanRow
from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.output.table import bulleted, check_text, grid, print_sections
from llmopt_optimizer.result import Status

_AIMS = {
    "requests_per_s": ("requests served", "req/s"),
    "gpus": ("accelerators", "GPUs"),
    "usd_per_hour": ("cost", "$/h"),
    "usd_per_day": ("cost", "$/day"),
}


def print_plan(result: PlanResult, console: Console) -> None:
    """Print every section that has something to say."""
    print_sections(sections(result), console)


def sections(result: PlanResult) -> Iterator[RenderableType]:
    """The plan in reading order."""
    yield _headline(result)
    if result.rows:
        yield from _totals(result)
        yield from _groups(result)
    if result.conflicts:
        yield Text("\nThese cannot hold together", style="bold")
        yield bulleted(Text(conflict) for conflict in result.conflicts)
    yield from _proof(result)


def _headline(result: PlanResult) -> Text:
    colour = {Status.PROVEN: "green", Status.FEASIBLE: "yellow"}.get(result.status, "red")
    title = Text.assemble((result.problem_name, "bold"), ": ", (result.status.value, f"bold {colour}"))
    title.append(f" in {fmt.duration(result.seconds)}. {result.message}")
    return title


def amount(result: PlanResult, value: float) -> str:
    """A value of the plan's objective with its unit."""
    _, unit = _AIMS[result.objective]
    return f"{fmt.number(value)} {unit}"


def _totals(result: PlanResult) -> Iterator[RenderableType]:
    aim, _ = _AIMS[result.objective]
    extreme = "most" if result.sense == "maximize" else "lowest"
    yield Text(f"\nPlan: the {extreme} {aim}, {amount(result, result.value)}", style="bold")
    lines = [Text(f"{name}: {fmt.number(value)}") for name, value in result.facts.items()]
    if isfinite(result.replicated):
        gain = abs(result.value / result.replicated - 1)
        alone = amount(result, result.replicated)
        better = f"mixing betters it by {fmt.share(gain)}" if gain > 1e-9 else "mixing does not better it"
        lines.append(Text(f"one shape repeated: {alone}; {better}"))
    yield bulleted(lines)


def _groups(result: PlanResult) -> Iterator[RenderableType]:
    """A table of groups for every slot, and beneath it what each group is."""
    for slot in dict.fromkeys(row.slot for row in result.rows):
        rows = [row for row in result.rows if row.slot == slot]
        yield Text(f"\n{slot or 'Groups'}", style="bold")
        yield Padding(_table(rows), (0, 0, 0, 2))
    yield Text("\nWhat to launch", style="bold")
    launches = {row.group: fmt.deployment_text(row.deployment) for row in result.rows}
    yield bulleted(Text(f"{name}: {text}") for name, text in launches.items())


def _table(rows: Iterable[PlanRow]) -> Table:
    table = grid("group", "where", "groups", "GPUs", "$/h", "each serves", "of", "verified")
    for row in rows:
        place = " ".join(part for part in (row.region, row.tariff) if part)
        table.add_row(
            row.group,
            place or fmt.ABSENT,
            fmt.count(row.groups),
            fmt.count(row.gpus),
            fmt.number(row.usd_per_hour),
            _rates(row.served_per_s),
            _rates({name: row.carried_per_s[name] for name in row.served_per_s}),
            "yes" if row.verified else "NO",
        )
    return table


def _rates(rates: dict[str, float] | object) -> str:
    assert isinstance(rates, dict)
    several = len(rates) > 1
    return ", ".join(f"{name} {fmt.number(r)}" if several else fmt.number(r) for name, r in rates.items())


def _proof(result: PlanResult) -> Iterator[RenderableType]:
    facts = []
    if isfinite(result.bound):
        word = "at most" if result.sense == "maximize" else "at least"
        facts.append(f"no plan: {word} {amount(result, result.bound)}")
    if isfinite(result.gap):
        facts.append(f"gap {fmt.share(result.gap)}")
    facts.append(f"{result.measured_groups} groups measured, {result.simulated} more deployments simulated")
    yield Text(f"\nProof: {', '.join(facts)}", style="bold")
    if result.checks:
        yield bulleted(check_text(check) for check in result.checks)
