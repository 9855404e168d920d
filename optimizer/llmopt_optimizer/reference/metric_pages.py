"""A page for each metric: what it says, its formula in each serving mode, symbols, units, assumptions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType

from sympy import Basic, Expr, Symbol, cse, latex, numbered_symbols

from llmopt_optimizer.core.algebra import substituted
from llmopt_optimizer.core.program import State, System
from llmopt_optimizer.frozen import starting_frozen
from llmopt_optimizer.metrics import batches, pools, resources, service, serving, waiting
from llmopt_optimizer.reference.readable import CONSTANTS, FUNCTIONS, STEP_STATE, Letter, readable_system
from llmopt_optimizer.scenario import resolve
from llmopt_problems import load
from llmopt_problems.deployment import Mode
from llmopt_problems.metrics_catalog import METRICS, MetricInfo, Statistic, metric_key

SHOWN: Statistic = "p95"
"""The statistic whose formula a page shows."""
DECISIONS: Mapping[str, Letter] = {
    "tp": Letter(r"\mathrm{TP}", "1", "tensor-parallel ranks of an instance"),
    "pp": Letter(r"\mathrm{PP}", "1", "pipeline stages of an instance"),
    "ep": Letter(r"\mathrm{EP}", "1", "expert-parallel ranks of an instance"),
    "dp": Letter(r"\mathrm{DP}", "1", "attention data-parallel ranks of an instance"),
    "instances": Letter("n", "1", "instances of the pool"),
    "chunk_tokens": Letter("c", "tokens", "token budget of one rank's step"),
    "batch_cap": Letter("B", "1", "requests that one rank runs at a time"),
}
FROZEN: Mapping[str, str] = {
    "request_rate_per_s": r"\lambda",
    "concurrency": "U",
    "think_s": "Z",
    "input_tokens": "I",
    "decode_tokens": "D",
    "hit_tokens": "H",
    "decode_context_tokens": r"k_d",
    "prefill_context_tokens": r"k_p",
    "reserved_tokens": "R",
    "arrival_scv": r"v_a",
    "prefill_scv": r"v_p",
    "decode_scv": r"v_d",
}
SOURCES: Mapping[str, tuple[ModuleType, ...]] = {
    "time": (service, waiting, serving, pools, batches),
    "power": (resources, serving, pools),
    "energy": (resources, serving, pools),
    "share": (resources, serving, pools),
}
"""Modules whose opening paragraph tells a metric's assumptions, by the metric's dimension."""
LOOPS: Sequence[tuple[str, Mode, bool]] = (
    ("Aggregated, open loop", "aggregated", False),
    ("Disaggregated, open loop", "disaggregated", False),
    ("Aggregated, closed loop", "aggregated", True),
    ("Disaggregated, closed loop", "disaggregated", True),
)


def metric_pages() -> dict[str, str]:
    """By path below `reference/`, the table of metrics and a page for each."""
    systems = {title: readable_system(mode, closed_loop=closed) for title, mode, closed in LOOPS}
    known = _frozen_letters()
    pages = {f"metrics/{name}.md": _page(info, systems, known) for name, info in METRICS.items()}
    return {"metrics/index.md": _table(), **pages}


def _table() -> str:
    rows = [
        f"| [{name}]({name}.md) | `{_key(info)}` | {info.dimension.replace('_', ' ')} | {info.better} | "
        f"{info.description} |"
        for name, info in METRICS.items()
    ]
    head = "| metric | key inside | dimension | better | what it is |\n| --- | --- | --- | --- | --- |\n"
    return "# Metrics\n\nService levels and objectives may name these.\n\n" + head + "\n".join(rows) + "\n"


def _key(info: MetricInfo) -> str:
    return metric_key(info.name, SHOWN if info.needs_statistic else None)


def _page(info: MetricInfo, systems: Mapping[str, System], known: Mapping[str, Letter]) -> str:
    key, read = _key(info), set[Symbol]()
    titles: dict[str, list[str]] = {}
    for title, system in systems.items():
        formula, symbols = _formula(system, key, known)
        read |= symbols
        titles.setdefault(formula, []).append(title)
    sections = [f"### {'; '.join(found)}\n\n```math\n{formula}\n```" for formula, found in titles.items()]
    statistics = (
        "Statistics: mean, p50, p90, p95, p99; the formulas show p95. " if info.needs_statistic else ""
    )
    unit = f"Key inside: `{key}`, in SI units (dollars for money). "
    return (
        "\n\n".join(
            [
                f"# {info.name}",
                info.description,
                f"{statistics}{unit}Better: {info.better}. The formula proposes, simulation decides.",
                "## Formula",
                *sections,
                "## Symbols",
                _symbol_table(read, "".join(titles), known),
                "## Assumptions",
                *_assumptions(info),
            ]
        )
        + "\n"
    )


def _formula(system: System, key: str, known: Mapping[str, Letter]) -> tuple[str, set[Symbol]]:
    """A metric with its states' equations as LaTeX, and the symbols in them."""
    attributes: dict[Symbol, Basic] = {}
    states: list[State] = []
    for pool in system.pools:
        attributes |= pool.variants[0].attributes
        states += pool.variants[0].states
    metric = substituted(system.metrics[key], attributes, {})
    used = [state for state in states if state.symbol in metric.free_symbols]
    expressions: list[Expr] = [*(state.equation for state in used), metric]
    parts, found = cse(expressions, symbols=numbered_symbols("x"), order="none")
    symbols = {symbol for each in expressions for symbol in each.free_symbols}
    names = {symbol: _written(symbol, known) for symbol in symbols}
    left = [*(names[state.symbol] for state in used), rf"\text{{{key}}}".replace("_", r"\_")]
    pairs = [*((latex(symbol), part) for symbol, part in parts), *zip(left, found, strict=True)]
    lines = [f"{name} &= {latex(part, symbol_names=names)}" for name, part in pairs]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}", symbols


def _written(symbol: Symbol, known: Mapping[str, Letter]) -> str:
    letter, _, role = _looked_up(symbol.name, known)
    return f"{letter.latex}_{{{role}}}" if role else letter.latex


def _looked_up(name: str, known: Mapping[str, Letter]) -> tuple[Letter, str, str]:
    """A symbol's letter, its name, and the first letter of the role it belongs to."""
    if name in known:
        return known[name], name, ""
    role, _, rest = name.partition("_")
    for letters in (DECISIONS, CONSTANTS):
        if rest in letters:
            return letters[rest], name, role[0]
    if rest == "decode_batch" or name == "decode_batch":
        return Letter("b", "1", "mean decoding sequences of a rank; solves its equation"), name, ""
    raise KeyError(f"the symbol {name!r} has no letter: add it to the reference")


def _frozen_letters() -> dict[str, Letter]:
    found = dict(CONSTANTS)
    for record in starting_frozen(resolve(load("quickstart"))).records.values():
        spread = r"\alpha" if record.name.startswith("attainment") else r"\sigma"
        found[record.name] = Letter(FROZEN.get(record.name, spread), record.unit, record.meaning)
    return found


def _symbol_table(symbols: set[Symbol], formulas: str, known: Mapping[str, Letter]) -> str:
    rows = []
    for name in sorted(symbol.name for symbol in symbols):
        letter, _, role = _looked_up(name, known)
        written = f"{letter.latex}_{{{role}}}" if role else letter.latex
        rows.append(f"| ${written}$ | `{name}` | {letter.unit} | {letter.meaning} |")
    rows += [
        f"| ${each.latex}(\\ldots)$ | | {each.unit} | {each.meaning}, of: {STEP_STATE} |"
        for each in FUNCTIONS.values()
        if f"{each.latex}{{\\left(" in formulas
    ]
    return "| symbol | name | unit | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows)


def _assumptions(info: MetricInfo) -> Iterator[str]:
    if info.needs_statistic:
        yield "A statistic is a formula times a spread $\\sigma$: one at first, then what is simulated."
    for module in SOURCES.get(info.dimension, ()):
        yield inspect.cleandoc(module.__doc__ or "")
    if info.dimension not in SOURCES:
        yield "It follows from the deployment and the offered load alone; nothing is approximated."
