"""A directed graph without circles: nodes with a label, a kind and perhaps a number; edges to what they use.

It is plain data, made by `expression` or `dependencies` and written by `text`, `svg`: neither side knows
the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["metric", "operation", "decision", "state", "frozen", "cut"]


@dataclass(frozen=True, slots=True)
class Node:
    """One node."""

    key: str
    """Unique in its graph: letters, digits and underscores."""
    label: str
    kind: Kind
    value: float | None = None
    """Its number at the deployment that was asked for."""

    @property
    def text(self) -> str:
        """The label, with the number where there is one."""
        return self.label if self.value is None else f"{self.label} = {self.value:.4g}"


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` is made from `target`."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which every node comes before those that it uses, and edges."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def uses(self) -> Mapping[str, int]:
        """How many edges lead to each node."""
        counts = {node.key: 0 for node in self.nodes}
        for edge in self.edges:
            counts[edge.target] += 1
        return counts
