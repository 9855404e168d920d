"""The printed answer: what to launch, then the front, what was refused and why, and how far the proof goes.

A section is a function from a `Result` to something rich can print; an empty section is left out. Only
verified points can be recommended, because only they are in `Result.front`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.output.frames import metric_names
from llmopt_optimizer.result import Point, Result, Status

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
    title = Text(f"\nRecommended: the {sense} {aim} among the verified deployments", style="bold")
    yield title
    yield Padding(Text(fmt.deployment_sentence(best.deployment)), (0, 0, 1, 2))
    yield Padding(_metrics(result, best), (0, 0, 0, 2))


def _metrics(result: Result, point: Point) -> Table:
    table = _grid("metric", "predicted", "simulated", "interval")
    for name in metric_names(result):
        estimate = point.simulated.get(name)
        predicted = fmt.metric_value(name, point.predicted.get(name, float("nan")))
        simulated = fmt.metric_value(name, estimate.value) if estimate else fmt.ABSENT
        between = fmt.interval(name, estimate.low, estimate.high) if estimate else fmt.ABSENT
        if estimate or name in point.predicted:
            table.add_row(fmt.metric_label(name), predicted, simulated, between)
    return table


def _front(result: Result) -> Iterator[RenderableType]:
    noun = "deployment" if len(result.front) == 1 else "deployments"
    labels = [f"{fmt.metric_label(name)}\npredicted | simulated" for name in result.objectives]
    table = _grid("#", "deployment", "GPUs", *labels, "gap", "binding")
    for index, point in enumerate(result.front, start=1):
        compared = [_compared(name, point) for name in result.objectives]
        text = fmt.deployment_text(point.deployment)
        gap = fmt.share(point.gap) if point.gap == point.gap else fmt.ABSENT
        table.add_row(
            str(index), text, fmt.count(point.deployment.gpus), *compared, gap, ", ".join(point.binding)
        )
    yield Text(f"\nFront: {len(result.front)} verified {noun}, none better in every objective", style="bold")
    yield Padding(table, (0, 0, 0, 2))


def _compared(name: str, point: Point) -> str:
    predicted = fmt.metric_value(name, point.predicted.get(name, float("nan")))
    estimate = point.simulated.get(name)
    return f"{predicted} | {fmt.metric_value(name, estimate.value) if estimate else fmt.ABSENT}"


def _infeasibility(result: Result) -> Iterator[RenderableType]:
    if result.conflicts:
        yield Text("\nThese limits cannot hold together", style="bold")
        yield from (Text(f"  - {conflict}") for conflict in result.conflicts)
    if result.relaxations:
        table = _grid("limit", "asked", "would be feasible at")
        for change in result.relaxations:
            needed = "no value alone" if change.needed is None else fmt.with_unit(change.needed, change.unit)
            table.add_row(change.limit, fmt.with_unit(change.asked, change.unit), needed)
        yield Text("\nSmallest change of one limit, all others kept", style="bold")
        yield Padding(table, (0, 0, 0, 2))


def _cut(result: Result) -> Iterator[RenderableType]:
    if not result.cut:
        return
    yield Text(f"\nRefused by simulation: {len(result.cut)}", style="bold")
    for point in result.cut[:SHOWN_CUTS]:
        reason = "; ".join(point.violated) or point.verdict.value
        yield Text(f"  - {fmt.deployment_text(point.deployment)}: {reason}")
    if len(result.cut) > SHOWN_CUTS:
        yield Text(f"  - and {len(result.cut) - SHOWN_CUTS} more in result.json")


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
    yield from (_check_line(check.name, check.passed, check.detail) for check in result.checks)
    yield from _provenance(result)


def _check_line(name: str, passed: bool, detail: str) -> Text:
    verdict = ("passed", "green") if passed else ("FAILED", "bold red")
    return Text.assemble("  ", verdict, f"  {name}: {detail}" if detail else f"  {name}")


def _provenance(result: Result) -> Iterator[Text]:
    """Families grouped by the basis of their coefficients, so that no default passes for a measurement."""
    grouped: dict[str, list[str]] = {}
    for family, basis in result.provenance.items():
        grouped.setdefault(basis, []).append(family)
    for basis, families in grouped.items():
        yield Text(f"  step times, {basis}: {', '.join(families)}", style="dim")


def _grid(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        fixed = column not in ("deployment", "binding", "limit", "metric")
        table.add_column(column, justify="right" if fixed else "left", no_wrap=fixed, overflow="fold")
    return table
