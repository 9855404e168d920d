"""The printed answer: what to launch, then the front, what was refused and why, and how far the proof goes.

A section is a function from a `Result` to something rich can print; an empty section is left out. Only
verified points can be recommended, because only they are in `Result.front`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.output.frames import metric_names
from llmopt_optimizer.result import Point, Result, Status
from llmopt_problems.metrics_catalog import STATISTICS

PIPED_WIDTH = 120
SHOWN_CUTS = 5


def console_for(stream: TextIO) -> Console:
    """A console as wide as the terminal, or 120 columns and plain when `stream` is piped."""
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def print_result(result: Result, console: Console) -> None:
    """Print every section that has something to say."""
    print_sections(sections(result), console)


def print_sections(parts: Iterable[RenderableType], console: Console) -> None:
    """Print the parts one under the other; piped text carries no padding at line ends."""
    if console.is_terminal:
        for part in parts:
            console.print(part)
        return
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def sections(result: Result) -> Iterator[RenderableType]:
    """The answer in reading order."""
    yield _headline(result)
    if result.front:
        yield from _recommendation(result)
        yield from _front(result)
    yield from _infeasibility(result)
    yield from _cut(result)
    yield from _proof(result)


def _headline(result: Result) -> Text:
    colour = {Status.PROVEN: "green", Status.FEASIBLE: "yellow"}.get(result.status, "red")
    title = Text.assemble((result.problem_name, "bold"), ": ", (result.status.value, f"bold {colour}"))
    title.append(f" in {fmt.duration(result.seconds)}. {result.status.sentence}")
    if result.message:
        title.append(f"\n{result.message}")
    return title


def _recommendation(result: Result) -> Iterator[RenderableType]:
    best = result.front[0]
    aim = fmt.metric_label(result.objectives[0])
    sense = {"minimize": "lowest", "maximize": "highest"}[result.senses[0]]
    yield Text(f"\nRecommended: the {sense} {aim} among the verified deployments", style="bold")
    yield Padding(Text("\n".join(fmt.deployment_sentences(best.deployment))), (0, 0, 1, 2))
    names = [name for name in metric_names(result) if name in {**best.predicted, **best.simulated}]
    spread = {name: parts for name in names if (parts := fmt.statistic_of(name))}
    plain = [name for name in names if name not in spread]
    yield Padding(_metrics(best, plain, result.units), (0, 0, 1, 2))
    yield Padding(_latencies(best, spread), (0, 0, 0, 2))


def _metrics(point: Point, names: Iterable[str], units: Mapping[str, str]) -> Table:
    table = grid("metric", "predicted", "simulated", "interval")
    for name in names:
        estimate = point.simulated.get(name)
        predicted = fmt.metric_value(name, point.predicted.get(name, float("nan")))
        simulated = fmt.metric_value(name, estimate.value) if estimate else fmt.ABSENT
        between = fmt.interval(name, estimate.low, estimate.high) if estimate else fmt.ABSENT
        table.add_row(fmt.titled(name, units), predicted, simulated, between)
    return table


def _latencies(point: Point, spread: Mapping[str, tuple[str, str]]) -> Table:
    """Latencies down, statistics across, `predicted | simulated` in each cell."""
    cells = {parts: _compared(name, point) for name, parts in spread.items()}
    statistics = [statistic for statistic in STATISTICS if any(statistic == found for _, found in cells)]
    table = grid("predicted | simulated", *statistics)
    for latency in dict.fromkeys(latency for latency, _ in cells):
        row = [cells.get((latency, statistic), fmt.ABSENT) for statistic in statistics]
        table.add_row(fmt.metric_label(latency), *row)
    return table


def _front(result: Result) -> Iterator[RenderableType]:
    noun = "deployment" if len(result.front) == 1 else "deployments"
    labels = [f"{fmt.titled(name, result.units)}\npredicted | simulated" for name in result.objectives]
    numbers = grid("#", "GPUs", *labels, "gap", "binding")
    launches = Table.grid(padding=(0, 1))
    for index, point in enumerate(result.front, start=1):
        compared = [_compared(name, point) for name in result.objectives]
        gap = fmt.share(point.gap) if point.gap == point.gap else fmt.ABSENT
        gpus = fmt.count(point.deployment.gpus)
        numbers.add_row(str(index), gpus, *compared, gap, ", ".join(point.binding))
        launches.add_row(f"{index}:", fmt.deployment_text(point.deployment))
    yield Text(f"\nFront: {len(result.front)} verified {noun}, none better in every objective", style="bold")
    yield Padding(numbers, (0, 0, 1, 2))
    yield Padding(launches, (0, 0, 0, 2))


def _compared(name: str, point: Point) -> str:
    predicted = fmt.metric_value(name, point.predicted.get(name, float("nan")))
    estimate = point.simulated.get(name)
    return f"{predicted} | {fmt.metric_value(name, estimate.value) if estimate else fmt.ABSENT}"


def _infeasibility(result: Result) -> Iterator[RenderableType]:
    if result.conflicts:
        yield Text("\nThese limits cannot hold together", style="bold")
        yield bulleted(Text(conflict) for conflict in result.conflicts)
    if result.relaxations:
        table = grid("limit", "asked", "would be feasible at")
        for change in result.relaxations:
            needed = "no value alone" if change.needed is None else fmt.with_unit(change.needed, change.unit)
            table.add_row(change.limit, fmt.with_unit(change.asked, change.unit), needed)
        yield Text("\nSmallest change of one limit, all others kept", style="bold")
        yield Padding(table, (0, 0, 0, 2))


def _cut(result: Result) -> Iterator[RenderableType]:
    if not result.cut:
        return
    reasons = [
        Text(f"{fmt.deployment_text(point.deployment)}: {_reason(point)}")
        for point in result.cut[:SHOWN_CUTS]
    ]
    if len(result.cut) > SHOWN_CUTS:
        reasons.append(Text(f"and {len(result.cut) - SHOWN_CUTS} more in result.json"))
    yield Text(f"\nRefused by simulation: {len(result.cut)}", style="bold")
    yield bulleted(reasons)


def _reason(point: Point) -> str:
    """The levels that a point breaks, each with what was simulated instead."""
    found = {fmt.metric_label(name): fmt.metric_value(name, e.value) for name, e in point.simulated.items()}
    reasons = (
        f"{level}, simulated {found[label]}" if (label := re.split(" [≤≥] ", level)[0]) in found else level
        for level in point.violated
    )
    return "; ".join(reasons) or point.verdict.value


def _proof(result: Result) -> Iterator[RenderableType]:
    simulated = sum(turn.simulated for turn in result.rounds)
    facts = [f"{fmt.count(result.space_size)} assignments searched"] if result.space_size else []
    if result.rounds:
        noun = "round" if len(result.rounds) == 1 else "rounds"
        facts.append(f"{len(result.rounds)} {noun}, {simulated} deployments simulated")
    if result.gap == result.gap:
        facts.append(f"gap at most {fmt.share(result.gap)}")
    if facts:
        yield Text(f"\nProof: {', '.join(facts)}", style="bold")
    if result.checks:
        yield bulleted(check_text(check) for check in result.checks)
    if result.provenance:
        yield Text("\nStep times come from", style="bold")
        yield bulleted(Text(line) for line in _provenance(result))


def check_text(check: Check) -> Text:
    verdict = ("passed", "green") if check.passed else ("FAILED", "bold red")
    return Text.assemble(verdict, f"  {check.name}: {check.detail}" if check.detail else f"  {check.name}")


def _provenance(result: Result) -> Iterator[str]:
    """Families by the basis of their coefficients, so that no default passes for a measurement.

    A basis may go on with its held-out error and, after a colon, its source; the source is in `result.json`.
    """
    grouped: dict[str, list[str]] = {}
    one_accelerator = len({family.partition("/")[0] for family in result.provenance}) == 1
    for name, origin in result.provenance.items():
        family = name.partition("/")[2] if one_accelerator and "/" in name else name
        basis, _, detail = origin.split(":")[0].partition(", ")
        grouped.setdefault(basis, []).append(f"{family} ({detail})" if detail else family)
    return (f"{basis}: {', '.join(families)}" for basis, families in grouped.items())


def bulleted(lines: Iterable[Text]) -> RenderableType:
    """Bulleted lines that wrap under themselves."""
    bullets = Table.grid(padding=(0, 1))
    for line in lines:
        bullets.add_row("-", line)
    return Padding(bullets, (0, 0, 0, 2))


def grid(*columns: str) -> Table:
    """A table without lines; where the terminal is narrow, cells wrap between words and lose nothing."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        words = column in ("binding", "limit", "metric", "predicted | simulated")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    return table
