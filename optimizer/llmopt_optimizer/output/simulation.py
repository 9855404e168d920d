"""The JSON that `llmopt simulate` gives: one simulated deployment, under the rules of `result.json`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from llmopt_optimizer.loop import Simulation
from llmopt_problems import Problem

SCHEMA_VERSION: Final = 1


class SimulationDocument(BaseModel):
    """The content of the document."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = SCHEMA_VERSION
    llmopt_version: str
    problem: dict[str, JsonValue]
    """The problem as simulated: overrides applied, defaults filled in."""
    simulation: Simulation


def simulation_text(simulation: Simulation, problem: Problem) -> str:
    """The document as JSON text that ends in a newline; the same simulation gives the same bytes."""
    document = SimulationDocument(
        llmopt_version=version("llmopt"),
        problem=problem.model_dump(mode="json", exclude_none=True),
        simulation=simulation,
    )
    return document.model_dump_json(indent=2) + "\n"
