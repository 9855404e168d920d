"""`llmopt graph`: how metrics are made, as a drawing, text or LaTeX."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sympy import Symbol

from llmopt_optimizer.cli.commands import Inputs
from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.formulation.deployments import decision_values
from llmopt_optimizer.graphs import (
    Graph,
    dependency_graph,
    dot_text,
    expression_graph,
    json_text,
    latex_text,
    mermaid_text,
    shared_dependencies,
    shared_parts,
    svg_text,
)
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.symbolic import SymbolicModel, states_at, symbolic_model
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment, Mode

WRITERS: Mapping[str, Callable[[Graph], str]] = {
    "dot": dot_text,
    "mermaid": mermaid_text,
    "svg": svg_text,
    "json": json_text,
}
SUFFIXES = {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".svg": "svg", ".json": "json", ".tex": "latex"}
MODES: tuple[Mode, ...] = ("aggregated", "disaggregated")


@dataclass(frozen=True, slots=True)
class Graphing:
    """The arguments of the command."""

    inputs: Inputs
    metrics: tuple[str, ...]
    mode: str | None
    at: str | None
    dependencies: bool
    depth: int | None
    form: str | None
    out: Path | None


def run_graph(asked: Graphing) -> ExitCode:
    """Write or print the graph; what is shared is listed on stderr."""
    form = _form(asked)
    problem = asked.inputs.load()
    deployment = None if asked.at is None else parse_deployment(asked.at, problem)
    model = _model(problem, asked.mode, deployment)
    metrics = _metrics(asked.metrics, problem, model)
    if form == "latex":
        text = latex_text(model, metrics)
    else:
        graph = _graph(asked, model, metrics, _values(model, deployment))
        text = WRITERS[form](graph)
        _tell_shared(asked, model, metrics, graph)
    if asked.out is None:
        sys.stdout.write(text)
    else:
        prepare_directory(asked.out.parent)
        write_files(asked.out.parent, {asked.out.name: text})
    return ExitCode.SOLVED


def _form(asked: Graphing) -> str:
    known = (*WRITERS, "latex")
    suffix = "" if asked.out is None else asked.out.suffix
    form = asked.form or SUFFIXES.get(suffix) or ("mermaid" if asked.out is None else "")
    if form not in known:
        raise InputError(
            f"--format {form or suffix}: give one of {', '.join(known)}, or --out with its suffix"
        )
    return form


def _model(problem: Problem, mode: str | None, deployment: Deployment | None) -> SymbolicModel:
    wanted = mode or (problem.search.modes[0] if deployment is None else deployment.mode)
    chosen = next((each for each in MODES if each == wanted), None)
    if chosen is None:
        raise InputError(f"--mode {mode}: give one of {', '.join(MODES)}")
    pools: dict[str, str] = {}
    if deployment is not None:
        pools |= {pool.role: pool.accelerator for pool in deployment.pools}
    try:
        return symbolic_model(problem, chosen, pools)
    except ValueError as error:
        raise InputError(str(error)) from error


def _metrics(asked: tuple[str, ...], problem: Problem, model: SymbolicModel) -> tuple[str, ...]:
    """Those asked for, else the objectives and service levels of the problem."""
    own = [*(each.key for each in problem.objectives), *(each.key for each in problem.slo)]
    metrics = asked or tuple(dict.fromkeys(key for key in own if key in model.metrics))
    for name in metrics:
        if name not in model.metrics:
            raise InputError(f"no metric is called {name}: there are {', '.join(sorted(model.metrics))}")
    return metrics


def _values(model: SymbolicModel, deployment: Deployment | None) -> Mapping[Symbol, float] | None:
    if deployment is None:
        return None
    names = {symbol.name for symbol in model.decisions}
    given = {
        name: float(value)
        for pool in deployment.pools
        for key, value in decision_values(pool).items()
        if (name := f"{pool.role}_{key}") in names
    }
    return states_at(model, given)


def _graph(
    asked: Graphing, model: SymbolicModel, metrics: tuple[str, ...], values: Mapping[Symbol, float] | None
) -> Graph:
    if asked.dependencies:
        return dependency_graph(model, metrics, values)
    return expression_graph(model, metrics, values, asked.depth)


def _tell_shared(asked: Graphing, model: SymbolicModel, metrics: tuple[str, ...], graph: Graph) -> None:
    if asked.dependencies:
        for name, users in shared_dependencies(model, metrics).items():
            print(f"{name}: {', '.join(users)}", file=sys.stderr)
        return
    shared = shared_parts(graph)
    print(f"{len(graph.nodes)} nodes, {len(shared)} of them shared", file=sys.stderr)
