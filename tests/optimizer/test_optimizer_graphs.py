"""Metrics as graphs: nodes have the numbers of their operations, shared parts stand once, text parses."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sympy as sp
from typer.testing import CliRunner

from llmopt_optimizer.cli.app import app
from llmopt_optimizer.core.program import Program, State
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
from llmopt_optimizer.result import TRAFFIC, FrozenParameter
from llmopt_optimizer.symbolic import SymbolicModel, evaluate, states_at, symbolic_model
from llmopt_problems import load

X, N, S, Q = (sp.Symbol(name, positive=True) for name in ("x", "n", "s", "q"))
TOTAL = X + N
NO_PROGRAM = Program((), ())  # graphs read the metrics alone
TOY = SymbolicModel(
    mode="aggregated",
    variants={"serve": "any"},
    decisions={X: (1, 2)},
    states=(State(S, sp.sqrt(S + N), sp.Integer(0), sp.Integer(9)),),
    metrics={
        "square": TOTAL**2 + sp.Max(TOTAL, 3 * X),
        "cases": sp.Piecewise((S * X, X < N), (sp.sqrt(TOTAL), True)),
        "plain": 2 * X,
    },
    constraints=(),
    frozen={
        N: FrozenParameter("n", 6.0, 6.0, 6.0, "1", "six", TRAFFIC),
        Q: FrozenParameter("q", 1.0, 1.0, 1.0, "1", "unused", TRAFFIC),
    },
    program=NO_PROGRAM,
)
POINT = {"tp": 4, "pp": 1, "ep": 1, "dp": 1, "instances": 2, "chunk_tokens": 2048, "batch_cap": 128}


def by_label(graph: Graph) -> dict[str, float | None]:
    return {node.label: node.value for node in graph.nodes}


def test_equal_parts_stand_once_and_numbers_are_theirs() -> None:
    values = states_at(TOY, {"x": 2})
    assert values[S] == pytest.approx(3)  # s = sqrt(s + 6)
    graph = expression_graph(TOY, ["square", "cases"], values)
    labels = by_label(graph)
    assert Counter(node.label for node in graph.nodes)["x"] == 1
    assert labels["square"] == pytest.approx(64 + 8)
    assert labels["cases"] == pytest.approx(3 * 2)
    assert labels["^ 2"] == 64
    assert labels["s solves"] == pytest.approx(3)
    total = next(node for node in graph.nodes if node.label == "+" and node.value == 8)
    users = {edge.source for edge in graph.edges if edge.target == total.key}
    assert len(users) == 3  # the square, the maximum, the second case
    assert shared_parts(graph)[0] == (total, 3)
    assert {node.label: node.kind for node in graph.nodes if node.kind not in ("operation", "metric")} == {
        **{"x": "decision", "n": "frozen", "s": "state"}
    }


def test_a_graph_has_no_circle_and_users_come_first() -> None:
    graph = expression_graph(TOY, ["square", "cases"])
    place = {node.key: index for index, node in enumerate(graph.nodes)}
    assert all(place[edge.source] < place[edge.target] for edge in graph.edges)
    assert all(node.value is None for node in graph.nodes)


def test_depth_cuts_expressions() -> None:
    graph = expression_graph(TOY, ["square"], depth=1)
    assert [node.label for node in graph.nodes if node.kind == "cut"] == ["… 2 operations", "… 3 operations"]
    assert expression_graph(TOY, ["plain"], depth=1).nodes[-1].label == "x"


def test_dependencies_reach_through_states() -> None:
    graph = dependency_graph(TOY, ["square", "cases", "plain"], states_at(TOY, {"x": 1}))
    names = {node.key: node.label for node in graph.nodes}
    edges = {(names[edge.source], names[edge.target]) for edge in graph.edges}
    assert ("cases", "s") in edges
    assert ("s", "n") in edges
    assert ("plain", "n") not in edges
    assert "q" not in by_label(graph)
    assert shared_dependencies(TOY, ["square", "cases", "plain"]) == {
        **{"x": ("square", "cases", "plain"), "n": ("square", "cases")}
    }


def test_text_forms_are_well_formed() -> None:
    graph = expression_graph(TOY, ["square", "cases"], states_at(TOY, {"x": 2}))
    dot, mermaid, drawn = dot_text(graph), mermaid_text(graph), svg_text(graph)
    assert dot.count(" -> ") == mermaid.count(" --> ") == len(graph.edges)
    assert len(re.findall(r"^  \w+ \[label=\"", dot, re.MULTILINE)) == len(graph.nodes)
    root = ET.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}rect")) == len(graph.nodes)
    assert len(root.findall(f"{space}path")) == len(graph.edges)
    document = json.loads(json_text(graph))
    assert len(document["nodes"]) == len(graph.nodes)


def test_boxes_of_a_drawing_do_not_overlap() -> None:
    root = ET.fromstring(svg_text(expression_graph(TOY, ["square", "cases", "plain"])))
    boxes = [
        tuple(float(box.get(side, "0")) for side in ("x", "y", "width"))
        for box in root.findall("{http://www.w3.org/2000/svg}rect")
    ]
    for i, (x, y, width) in enumerate(boxes):
        assert all(y != y2 or x + width <= x2 or x2 + width2 <= x for x2, y2, width2 in boxes[i + 1 :])


def test_labels_with_signs_of_the_formats_are_escaped() -> None:
    odd = sp.Symbol('a<"b">&c', positive=True)
    model = SymbolicModel("aggregated", {}, {odd: (1,)}, (), {"m": odd + 1}, (), {}, NO_PROGRAM)
    graph = expression_graph(model, ["m"])
    ET.fromstring(svg_text(graph))
    assert '"b"' not in mermaid_text(graph)
    assert '\\"b\\"' in dot_text(graph)


def test_latex_names_shared_parts_before_they_are_used() -> None:
    text = latex_text(TOY, ["square", "cases"])
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == (r"\begin{align*}", r"\end{align*}")
    assert lines[1].startswith("t_{0} &=")
    assert any(line.startswith(r"\mathrm{s} &= \sqrt") for line in lines)
    assert text.count("{") == text.count("}")


def test_the_numbers_of_a_real_problem_are_those_of_evaluate() -> None:
    model = symbolic_model(load("quickstart"), "aggregated")
    point = {f"serve_{name}": value for name, value in POINT.items()}
    metrics = ["ttft_p95_s", "peak_memory_bytes"]
    graph = expression_graph(model, metrics, states_at(model, point))
    expected = evaluate(model, metrics, point)
    labels = by_label(graph)
    for name in metrics:
        assert labels[name] == pytest.approx(float(expected[name][0]), rel=1e-9)
    assert labels["serve_decode_batch solves"] == pytest.approx(labels["serve_decode_batch"], rel=1e-9)
    assert len(graph.nodes) < 1000
    assert len({node.key for node in graph.nodes}) == len(graph.nodes)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["graph", "quickstart", *arguments], catch_exceptions=False)


def test_the_command_writes_what_its_file_name_says(tmp_path: Path) -> None:
    target = tmp_path / "graph.svg"
    at = "prefill.tp=4,decode.tp=4,decode.batch_cap=64,decode.chunk_tokens=64"
    done = run("--metric", "peak_memory_bytes", "--at", at, "--depth", "3", "--out", str(target))
    assert done.exit_code == 0, done.stderr
    assert "peak_memory_bytes = " in target.read_text()
    assert "shared" in done.stderr
    listed = run("--dependencies")
    assert listed.stdout.startswith("flowchart TD")
    assert "serve_tp: " in listed.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--metric", "ttft"), "ttft_p95_s"),
        (("--format", "png"), "mermaid"),
        (("--out", "graph.png"), "--format .png"),
        (("--mode", "both"), "aggregated, disaggregated"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], expected: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert expected in done.stderr
