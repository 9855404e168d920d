"""Metrics as graphs: the expression of one as a DAG with shared parts, or what each depends on."""

from llmopt_optimizer.graphs.dependencies import dependency_graph, shared_dependencies
from llmopt_optimizer.graphs.expression import expression_graph, shared_parts
from llmopt_optimizer.graphs.graph import Edge, Graph, Node
from llmopt_optimizer.graphs.latex import latex_text
from llmopt_optimizer.graphs.svg import svg_text
from llmopt_optimizer.graphs.text import dot_text, json_text, mermaid_text

__all__ = [
    "Edge",
    "Graph",
    "Node",
    "dependency_graph",
    "dot_text",
    "expression_graph",
    "json_text",
    "latex_text",
    "mermaid_text",
    "shared_dependencies",
    "shared_parts",
    "svg_text",
]
