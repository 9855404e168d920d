"""Wall seconds of a process that imports the facade, and of one that imports all that a solve needs."""

from __future__ import annotations

from harness import Figure, Outcome
from launches import against_bare_python


def run(smoke: bool) -> Outcome:
    """Import the facade and reach everything that a solve needs."""
    facade = against_bare_python("facade", "-c", "import llmopt", smoke=smoke)
    everything = "import llmopt, llmopt_optimizer.loop, llmopt_optimizer.answer"
    solving = against_bare_python("solving", "-c", everything, smoke=smoke)
    solving_figure = Figure("solving_seconds", solving.figures[0].value, "s", solving.figures[0].baseline)
    return Outcome((*facade.figures, solving_figure), (*facade.phases, *solving.phases))
