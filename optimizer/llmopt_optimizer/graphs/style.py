"""How kinds of nodes look, the same in every format."""

from __future__ import annotations

from llmopt_optimizer.graphs.graph import Kind

FILL: dict[Kind, str] = {
    "metric": "#cfe2f3",
    "operation": "#f3f3f3",
    "decision": "#d9ead3",
    "state": "#fff2cc",
    "frozen": "#ead1dc",
    "cut": "#eeeeee",
}
"""Background by kind."""
