"""The page itself: sections in reading order, plots drawn by a library that is inside the file.

Nothing is fetched: a content security policy forbids it, styles and scripts are inline.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import Any

import yaml

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.report import figures, tables, theme, what_if, words
from llmopt_optimizer.report.evidence import Evidence, gather
from llmopt_optimizer.result import Result
from llmopt_problems import Problem

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
DRAW = """ const shared = %s; function merged(base, own) { const out = {...base}; for (const [key, value] of
Object.entries(own)) { const nested = value && typeof value === "object" && !Array.isArray(value) && typeof
base[key] === "object"; out[key] = nested ? merged(base[key], value) : value; } return out; } for (const
node of document.querySelectorAll("script[data-plot]")) { const figure = JSON.parse(node.textContent); const
options = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"]};
Plotly.newPlot(node.dataset.plot, figure.data, merged(shared, figure.layout), options); }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading that the navigation names."""

    key: str
    heading: str
    html: str


def report_text(result: Result, problem: Problem) -> str:
    """The whole page. Simulates the recommended deployment where there is one."""
    evidence = gather(problem, result.front[0].deployment) if result.front else None
    parts = list(_sections(result, problem, evidence))
    links = "".join(f'<a href="#{part.key}">{escape(part.heading)}</a>' for part in parts)
    body = "".join(
        f'<section id="{part.key}"><h2>{escape(part.heading)}</h2>{part.html}</section>' for part in parts
    )
    return _document(result, problem, f"<nav>{links}</nav>{body}")


def _document(result: Result, problem: Problem, body: str) -> str:
    from plotly.offline import get_plotlyjs

    status = f'<span class="status {result.status.value}">{escape(result.status.value)}</span>'
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(problem.name)} · llmopt</title><style>{theme.style()}</style></head>"
    )
    header = (
        f"<header><h1>{escape(problem.name)} {status}</h1><p>{escape(words.question(problem))}</p>"
        f'<p class="muted">{escape(words.space(result))}</p></header>'
    )
    scripts = f"<script>{get_plotlyjs()}</script><script>{DRAW % json.dumps(theme.PLOT)}</script>"
    return f"{head}<body><main>{header}{body}</main>{scripts}</body></html>\n"


def _sections(result: Result, problem: Problem, evidence: Evidence | None) -> Iterator[Section]:
    if evidence is not None:
        yield _recommended(result, problem)
        yield _front(result)
        yield _latencies(evidence, problem)
        yield _machines(result, evidence)
        yield _what_if(result, problem, evidence)
        yield _minute(evidence)
    else:
        yield _infeasible(result)
    yield _proof(result)
    yield _sources(result)
    yield _reproduce(problem)


def _recommended(result: Result, problem: Problem) -> Section:
    parts = "".join(f"<li>{escape(part)}</li>" for part in words.recommended(result))
    why = "".join(f"<li>{escape(reason)}</li>" for reason in words.reasons(result))
    html = (
        f"<p>{escape(words.recommendation(result))}</p><ul>{parts}</ul>{tables.cards(result, problem)}"
        f"<h3>Why this one</h3><ul>{why}</ul><h3>Service levels</h3>{tables.levels(result.front[0], problem)}"
        "<h3>Start it</h3><pre>llmopt launch result.json --point 1</pre>"
    )
    return Section("recommended", "Recommended", html)


def _front(result: Result) -> Section:
    refused = f"<h3>Refused by simulation</h3>{tables.cut(result)}" if result.cut else ""
    html = (
        "<p>Each point is a deployment whose service levels held in simulation; bars are confidence "
        "intervals, circles what the formulas predicted.</p>"
        f"{plot('front', figures.front(result))}{tables.front(result)}{refused}"
    )
    return Section("front", "All best deployments", html)


def _latencies(evidence: Evidence, problem: Problem) -> Section:
    drawn = figures.distributions(evidence, problem)
    count = len(evidence.requests)
    html = f"<p>{count:,} measured requests of one simulated run of the recommended deployment.</p>" + _pair(
        "latency", drawn
    )
    return Section("latency", "Latencies", html)


def _machines(result: Result, evidence: Evidence) -> Section:
    html = (
        f"<h3>Memory</h3>{plot('memory', figures.memory(evidence.pools), 'low')}"
        f"<h3>Use</h3>{plot('use', figures.utilization(evidence.pools), 'low')}"
        f"<h3>Where requests spend their time</h3>{plot('phases', figures.phases(evidence), 'flat')}"
        f"<h3>Money and energy</h3>{tables.money(result.front[0])}"
    )
    return Section("machines", "Machines, money, energy", html)


def _what_if(result: Result, problem: Problem, evidence: Evidence) -> Section:
    loads = figures.load(evidence, problem)
    limits = {f"level-{steps.metric}": steps for steps in what_if.level_steps(result, problem)}
    limits["gpus"] = what_if.gpu_steps(result, problem)
    moved = {key: figures.steps(steps) for key, steps in limits.items()}
    load = f"<h3>More or less load on the recommended deployment</h3>{_pair('load', loads)}" if loads else ""
    html = (
        f"{load}<h3>Another limit</h3><p>The best objective as one limit moves, among the deployments that "
        f"were simulated.</p>{_pair('limit', moved)}"
        "<h3>One step away</h3><p>One simulation each, with the same requests.</p>"
        f"{tables.neighbours(evidence, problem, result.front[0])}"
    )
    return Section("what-if", "What if", html)


def _minute(evidence: Evidence) -> Section:
    return Section("minute", "A simulated minute", _pair("minute", figures.minute(evidence)))


def _infeasible(result: Result) -> Section:
    conflicts = "".join(f"<li>{escape(each)}</li>" for each in result.conflicts)
    rows = [
        (
            escape(each.limit),
            escape(fmt.with_unit(each.asked, each.unit)),
            fmt.ABSENT if each.needed is None else escape(fmt.with_unit(each.needed, each.unit)),
        )
        for each in result.relaxations
    ]
    mend = tables.table(("limit", "asked", "needed, all others kept"), rows, (1, 2)) if rows else ""
    together = f"<h3>These cannot hold together</h3><ul>{conflicts}</ul>" if conflicts else ""
    html = f"<p>{escape(result.message or result.status.sentence)}</p>{together}"
    return Section("answer", "No deployment", html + (f"<h3>What would be enough</h3>{mend}" if mend else ""))


def _proof(result: Result) -> Section:
    html = (
        f"<p>{escape(result.status.sentence)} {escape(result.message)}</p>{tables.checks(result)}"
        f"<h3>Rounds</h3>{tables.rounds(result)}"
    )
    return Section("proof", "How sure this is", html)


def _sources(result: Result) -> Section:
    html = (
        "<p>Step times come from laws whose coefficients were fitted to measurements where there are any. "
        "<em>measured</em>: fitted on this accelerator; <em>transferred</em>: fitted on another one; "
        "<em>default</em>: physics and data sheets alone.</p>"
        f"{tables.provenance(result)}<h3>Numbers that the formulas read from traffic and simulation</h3>"
        f"{tables.frozen(result)}"
    )
    return Section("sources", "Where the numbers come from", html)


def _reproduce(problem: Problem) -> Section:
    text = yaml.safe_dump(
        problem.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True
    )
    html = (
        f"<p>llmopt {escape(version('llmopt'))}, seed {problem.verification.seed}. Save the problem as "
        "<code>problem.yaml</code> and run</p><pre>llmopt solve problem.yaml --out DIRECTORY</pre>"
        f"<details><summary>the problem as solved</summary><pre>{escape(text)}</pre></details>"
    )
    return Section("reproduce", "Reproduce", html)


def plot(key: str, figure: figures.Figure, height: str = "") -> str:
    """A place for a plot, and its data beside it; `</` cannot end the script early."""
    data = json.dumps(_finite(figure), separators=(",", ":")).replace("</", "<\\/")
    return (
        f'<div class="plot {height}" id="plot-{key}"></div>'
        f'<script type="application/json" data-plot="plot-{key}">{data}</script>'
    )


def _pair(prefix: str, drawn: dict[str, figures.Figure]) -> str:
    plots = "".join(f"<div>{plot(f'{prefix}-{key}', figure)}</div>" for key, figure in drawn.items())
    return f'<div class="pair">{plots}</div>'


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not known is null, a gap in a line."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
