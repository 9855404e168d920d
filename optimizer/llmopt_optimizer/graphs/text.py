"""Graphs as text: DOT for Graphviz, Mermaid for Markdown, JSON for programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from llmopt_optimizer.graphs.graph import Graph, Kind, Node
from llmopt_optimizer.graphs.style import FILL

_SHAPES: dict[Kind, str] = {"metric": "box", "operation": "ellipse", "cut": "folder"}
_BRACKETS: dict[Kind, tuple[str, str]] = {
    "metric": ("[[", "]]"),
    "decision": ("[", "]"),
    "frozen": ("(", ")"),
    "state": ("{{", "}}"),
    "operation": ("([", "])"),
    "cut": ("[/", "/]"),
}


def dot_text(graph: Graph) -> str:
    """The graph in Graphviz' language."""
    lines = [f"digraph {_quoted(graph.title)} {{", "  node [style=filled, fontname=sans];"]
    for node in graph.nodes:
        shape = _SHAPES.get(node.kind, "box")
        fill = FILL[node.kind]
        lines.append(f'  {node.key} [label={_quoted(node.text)}, shape={shape}, fillcolor="{fill}"];')
    lines += [f"  {edge.source} -> {edge.target};" for edge in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def mermaid_text(graph: Graph) -> str:
    """The graph as a Mermaid flowchart; its renderers take some hundred edges."""
    lines = ["flowchart TD"]
    for node in graph.nodes:
        opening, closing = _BRACKETS[node.kind]
        lines.append(f'  {node.key}{opening}"{_escaped(node)}"{closing}:::{node.kind}')
    lines += [f"  {edge.source} --> {edge.target}" for edge in graph.edges]
    lines += [f"  classDef {kind} fill:{fill},stroke:#555" for kind, fill in FILL.items()]
    return "\n".join(lines) + "\n"


def json_text(graph: Graph) -> str:
    """The graph as strict JSON; a value that is no finite number is left out."""
    document = asdict(graph)
    for node in document["nodes"]:
        if node["value"] is None or not math.isfinite(node["value"]):
            del node["value"]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _escaped(node: Node) -> str:
    return node.text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
