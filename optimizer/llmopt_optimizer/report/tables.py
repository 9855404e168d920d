"""Tables of the page as HTML, every text escaped and every number printed as everywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.report.evidence import Evidence, Neighbour
from llmopt_optimizer.result import Point, Result
from llmopt_problems import Problem


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), texts: Sequence[int] = ()
) -> str:
    """A table of HTML cells; columns in `numbers` are flush right, those in `texts` never narrow."""
    styles = dict.fromkeys(texts, ' class="text"') | dict.fromkeys(numbers, ' class="number"')

    def cells(tag: str, row: Sequence[str]) -> str:
        classes = (styles.get(index, "") for index in range(len(row)))
        return "".join(f"<{tag}{c}>{cell}</{tag}>" for c, cell in zip(classes, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def cards(result: Result, problem: Problem) -> str:
    """The recommended deployment's headline numbers."""
    best = result.front[0]
    names = dict.fromkeys(
        [*result.objectives, "gpus", "cost_per_hour", *(level.key for level in problem.slo)]
    )
    shown = "".join(
        f'<div class="card"><b>{escape(fmt.metric_value(name, best.simulated[name].value))}</b>'
        f"<span>{escape(fmt.titled(name, result.units))}</span></div>"
        for name in names
        if name in best.simulated
    )
    return f'<div class="cards">{shown}</div>'


def levels(point: Point, problem: Problem) -> str:
    """Each service level with what was predicted and simulated, and the room that is left."""
    rows = []
    for level in problem.slo:
        estimate = point.simulated.get(level.key)
        if estimate is None:
            continue
        room = (
            1 - estimate.value / level.value if level.bound == "at_most" else estimate.value / level.value - 1
        )
        rows.append(
            (
                escape(fmt.level_text(level)),
                escape(fmt.metric_value(level.key, point.predicted.get(level.key, float("nan")))),
                escape(fmt.metric_value(level.key, estimate.value)),
                escape(fmt.interval(level.key, estimate.low, estimate.high)),
                f'<span class="{"good" if room >= 0 else "bad"}">{room:.0%}</span>',
            )
        )
    return table(("service level", "predicted", "simulated", "interval", "room"), rows, (1, 2, 3, 4))


def front(result: Result) -> str:
    """Every verified deployment: its objectives and what it is."""
    labels = [fmt.titled(name, result.units) for name in result.objectives]
    rows = [
        (
            str(index),
            str(point.deployment.gpus),
            *(escape(_compared(name, point)) for name in result.objectives),
            escape(fmt.share(point.gap)),
            escape(fmt.deployment_text(point.deployment)),
        )
        for index, point in enumerate(result.front, start=1)
    ]
    head = ("#", "GPUs", *(f"{label}<br>predicted | simulated" for label in labels), "gap", "deployment")
    return table(head, rows, range(1, len(labels) + 3), (len(labels) + 3,))


def _compared(name: str, point: Point) -> str:
    estimate = point.simulated.get(name)
    predicted = fmt.metric_value(name, point.predicted.get(name, float("nan")))
    return f"{predicted} | {fmt.metric_value(name, estimate.value) if estimate else fmt.ABSENT}"


def cut(result: Result) -> str:
    """Proposals that simulation refused, with the levels that they break."""
    rows = [
        (
            str(point.deployment.gpus),
            escape(fmt.deployment_text(point.deployment)),
            escape("; ".join(point.violated)),
        )
        for point in result.cut
    ]
    return table(("GPUs", "deployment", "refused because simulation breaks"), rows, (0,), (1, 2))


def money(point: Point) -> str:
    """Cost, power and energy of a deployment."""
    names = ("cost_per_hour", "cost_per_million_output_tokens", "power_w", "energy_per_output_token_j",
             "throughput_tokens_per_s", "goodput_requests_per_s")  # fmt: skip
    rows = [
        (escape(fmt.metric_label(name)), *(escape(cell) for cell in _both(name, point)))
        for name in names
        if name in point.simulated or name in point.predicted
    ]
    return table(("", "predicted", "simulated", "interval"), rows, (1, 2, 3))


def _both(name: str, point: Point) -> tuple[str, str, str]:
    estimate = point.simulated.get(name)
    predicted = fmt.metric_value(name, point.predicted.get(name, float("nan")))
    if estimate is None:
        return predicted, fmt.ABSENT, fmt.ABSENT
    between = fmt.interval(name, estimate.low, estimate.high)
    return predicted, fmt.metric_value(name, estimate.value), between


def neighbours(evidence: Evidence, problem: Problem, best: Point) -> str:
    """What one step away would do, from one simulation each."""
    keys = [level.key for level in problem.slo if level.is_latency]
    rows = [_neighbour(each, keys, problem) for each in evidence.neighbours]
    own = {name: estimate.value for name, estimate in best.simulated.items()}
    first = _neighbour(Neighbour("as recommended", best.deployment.gpus, own), keys, problem)
    head = ("change", "GPUs", *(fmt.metric_label(key) for key in keys), "levels")
    return table(head, [first, *rows], range(1, len(keys) + 2))


def _neighbour(each: Neighbour, keys: Sequence[str], problem: Problem) -> tuple[str, ...]:
    values = [each.metrics.get(key, float("nan")) for key in keys]
    limits = {level.key: level.value for level in problem.slo if level.is_latency}
    holds = all(value <= limits[key] for key, value in zip(keys, values, strict=True))
    mark = '<span class="good">hold</span>' if holds else '<span class="bad">broken</span>'
    cells = (escape(fmt.metric_value(key, value)) for key, value in zip(keys, values, strict=True))
    return (escape(each.change), str(each.gpus), *cells, mark)


def checks(result: Result) -> str:
    """Every check of the proof."""
    rows = [
        (
            escape(check.name),
            '<span class="good">passed</span>' if check.passed else '<span class="bad">failed</span>',
            escape(check.detail),
        )
        for check in result.checks
    ]
    return table(("check", "", "detail"), rows, texts=(2,))


def rounds(result: Result) -> str:
    """The turns of the loop."""
    rows = [
        (
            str(each.number),
            str(each.proposed),
            str(each.simulated),
            str(each.verified),
            fmt.share(each.largest_error),
            fmt.duration(each.solve_seconds),
            fmt.duration(each.simulate_seconds),
        )
        for each in result.rounds
    ]
    head = ("round", "proposed", "simulated", "verified", "largest error", "solving", "simulating")
    return table(head, rows, range(7))


def frozen(result: Result) -> str:
    """The numbers that the formulas read from traffic and from simulation."""
    rows = [
        (
            escape(each.meaning),
            fmt.number(each.value),
            f"{fmt.number(each.low)} … {fmt.number(each.high)}",
            escape(each.unit),
            escape(each.source),
        )
        for each in result.frozen
    ]
    return table(("parameter", "value", "interval", "unit", "source"), rows, (1, 2))


def provenance(result: Result) -> str:
    """Where the coefficients of every operator family come from."""
    rows = []
    for key, text in sorted(result.provenance.items()):
        accelerator, _, family = key.partition("/")
        basis, _, source = text.partition(": ")
        rows.append((escape(accelerator), escape(family), escape(basis), escape(source)))
    return table(("accelerator", "operators", "coefficients", "source"), rows, texts=(3,))
