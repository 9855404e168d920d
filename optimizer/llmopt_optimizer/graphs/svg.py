"""Graphs as SVG, laid out in layers without any other program.

Layered drawing (Sugiyama, Tagawa and Toda 1981): a node stands one layer below its lowest user, and each
layer is ordered by the mean place of a node's users, then of what it uses, a few times over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from llmopt_optimizer.graphs.graph import Graph, Node
from llmopt_optimizer.graphs.style import FILL

CHARACTER, HEIGHT, GAP, LAYER = 7.2, 26.0, 14.0, 64.0
"""Pixels: width of a character, height of a node, gap between nodes, distance of layers."""
SWEEPS = 4

Places = dict[str, tuple[float, float, float]]
"""Left, top and width of every node, by key."""


def svg_text(graph: Graph) -> str:
    """A self-contained drawing of the graph."""
    layers = _ordered(graph, _layers(graph))
    places = _placed(layers)
    width = max((x + w for x, _, w in places.values()), default=0.0) + GAP
    height = LAYER * len(layers) + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(graph.title)}</title>",
    ]
    lines += [_line(places[edge.source], places[edge.target]) for edge in graph.edges]
    lines += [_box(node, places[node.key]) for node in graph.nodes]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _layers(graph: Graph) -> list[list[Node]]:
    """Nodes by their distance from the top, the longest way counting."""
    users = defaultdict(list)
    for edge in graph.edges:
        users[edge.target].append(edge.source)
    depth: dict[str, int] = {}
    for node in graph.nodes:  # users come before what they use
        depth[node.key] = max((depth[user] + 1 for user in users[node.key]), default=0)
    layers: list[list[Node]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in graph.nodes:
        layers[depth[node.key]].append(node)
    return layers


def _ordered(graph: Graph, layers: list[list[Node]]) -> list[list[Node]]:
    above, below = defaultdict(list), defaultdict(list)
    for edge in graph.edges:
        above[edge.target].append(edge.source)
        below[edge.source].append(edge.target)
    for sweep in range(SWEEPS):
        near, course = (above, layers) if sweep % 2 == 0 else (below, layers[::-1])
        place = _fractions(layers)
        for layer in course:
            layer.sort(key=lambda node: _mean([place[each] for each in near[node.key]], place[node.key]))
            place |= _fractions([layer])
    return layers


def _fractions(layers: Sequence[Sequence[Node]]) -> dict[str, float]:
    """Where in its layer a node stands, from 0 to 1."""
    return {node.key: (i + 0.5) / len(layer) for layer in layers for i, node in enumerate(layer)}


def _mean(places: Sequence[float], own: float) -> float:
    return sum(places) / len(places) if places else own


def _placed(layers: Sequence[Sequence[Node]]) -> Places:
    widths = {node.key: CHARACTER * len(node.text) + GAP for layer in layers for node in layer}
    totals = [sum(widths[node.key] + GAP for node in layer) for layer in layers]
    places: Places = {}
    for row, (layer, total) in enumerate(zip(layers, totals, strict=True)):
        x = GAP + (max(totals) - total) / 2
        for node in layer:
            places[node.key] = (x, GAP + row * LAYER, widths[node.key])
            x += widths[node.key] + GAP
    return places


def _line(source: tuple[float, float, float], target: tuple[float, float, float]) -> str:
    x1, y1 = source[0] + source[2] / 2, source[1] + HEIGHT
    x2, y2 = target[0] + target[2] / 2, target[1]
    bend = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + 20:.0f} {x2:.0f} {y2 - 20:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{bend}" fill="none" stroke="#888"/>'


def _box(node: Node, place: tuple[float, float, float]) -> str:
    x, y, width = place
    shape = (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT:.0f}" rx="5" '
        f'fill="{FILL[node.kind]}" stroke="#555"/>'
    )
    middle = f'x="{x + width / 2:.0f}" y="{y + HEIGHT / 2 + 4:.0f}" text-anchor="middle"'
    return f"{shape}<text {middle}>{escape(node.text)}</text>"
