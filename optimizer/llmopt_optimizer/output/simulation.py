"""The JSON that `llmopt simulate` gives: one simulated deployment, under the rules of `result.json`.

At the top stand the few numbers that most readers want, in the words that simulators of serving share
(`throughput.tokens_per_sec`, `first_token_latency.p95`, `xpu_utilization`, `memory.peak_memory_gb`); below,
under `simulation`, everything with its intervals. Version 1 had only the latter; it is still read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from llmopt_optimizer.loop import Simulation
from llmopt_optimizer.output.files import OutputError
from llmopt_optimizer.result import Estimate
from llmopt_problems import Problem
from llmopt_problems.metrics_catalog import STATISTICS, metric_key

SCHEMA_VERSION: Final = 2

_STRICT = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Throughput(BaseModel):
    """What came out."""

    model_config = _STRICT
    tokens_per_sec: float = Field(description="Output tokens a second of the deployment.")
    requests_per_sec: float = Field(description="Requests finished a second.")


class Latency(BaseModel):
    """A latency over the measured requests; infinite where the backlog grew without bound."""

    model_config = _STRICT
    unit: Literal["s"] = "s"
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


class Utilization(BaseModel):
    """Means over all accelerators, as shares of their peaks."""

    model_config = _STRICT
    compute: float = Field(description="FLOP/s over the dense peak.")
    bandwidth: float = Field(description="Memory bytes/s over the peak.")
    network: float = Field(description="Network bytes/s over the peak of the scale-up link.")


class Memory(BaseModel):
    """The fullest accelerator, in GB (1e9 bytes)."""

    model_config = _STRICT
    peak_memory_gb: float
    by_pool: dict[str, dict[str, float]] = Field(description="Of each pool by what holds it.")


class SimulationDocument(BaseModel):
    """The content of the document."""

    model_config = _STRICT

    schema_version: Literal[2] = SCHEMA_VERSION
    llmopt_version: str
    problem: dict[str, JsonValue]
    """The problem as simulated: overrides applied, defaults filled in."""
    throughput: Throughput
    first_token_latency: Latency
    time_per_output_token: Latency
    inter_token_latency: Latency
    end_to_end_latency: Latency
    queueing_latency: Latency
    xpu_utilization: float = Field(
        description="Share of time that accelerators were stepping; NaN in documents made from version 1."
    )
    utilization: Utilization
    memory: Memory
    simulation: Simulation


def simulation_text(simulation: Simulation, problem: Problem) -> str:
    """The document as JSON text that ends in a newline; the same simulation gives the same bytes."""
    asked = problem.model_dump(mode="json", exclude_none=True)
    return document_of(simulation, asked, version("llmopt")).model_dump_json(indent=2) + "\n"


def document_of(
    simulation: Simulation, problem: Mapping[str, JsonValue], llmopt_version: str
) -> SimulationDocument:
    """The document of a simulation."""
    found = simulation.metrics
    return SimulationDocument(
        llmopt_version=llmopt_version,
        problem=dict(problem),
        throughput=Throughput(
            tokens_per_sec=found["throughput_tokens_per_s"].value,
            requests_per_sec=found["throughput_requests_per_s"].value,
        ),
        first_token_latency=_latency(found, "ttft"),
        time_per_output_token=_latency(found, "tpot"),
        inter_token_latency=_latency(found, "itl"),
        end_to_end_latency=_latency(found, "e2e"),
        queueing_latency=_latency(found, "queueing"),
        xpu_utilization=found["busy_share"].value if "busy_share" in found else math.nan,
        utilization=_utilization(found),
        memory=_memory(simulation),
        simulation=simulation,
    )


def read_simulation(path: str | Path) -> SimulationDocument:
    """The document in a file that `llmopt simulate` wrote, of this version or the one before.

    Raises `OutputError` when the file is missing, damaged, or of a version this program does not know.
    """
    source = Path(path)
    try:
        return _document(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(source, f"cannot be read: {error}", "give the file of llmopt simulate") from error
    except (ValidationError, json.JSONDecodeError) as error:
        remedy = f"this program reads schema_version 1 and {SCHEMA_VERSION}; simulate again"
        what = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise OutputError(source, f"is no simulation of llmopt: {what}", remedy) from error


class _Version1(BaseModel):
    """The document before the sections at its top."""

    model_config = _STRICT
    schema_version: Literal[1]
    llmopt_version: str
    problem: dict[str, JsonValue]
    simulation: Simulation


def _document(text: str) -> SimulationDocument:
    raw: Any = json.loads(text)
    if isinstance(raw, dict) and raw.get("schema_version") == 1:
        before = _Version1.model_validate_json(text)
        return document_of(before.simulation, before.problem, before.llmopt_version)
    return SimulationDocument.model_validate_json(text)


def _latency(found: Mapping[str, Estimate], metric: str) -> Latency:
    values = {statistic: found[metric_key(metric, statistic)].value for statistic in STATISTICS}
    return Latency.model_validate(values)


def _utilization(found: Mapping[str, Estimate]) -> Utilization:
    parts = ("compute", "bandwidth", "network")
    return Utilization.model_validate({part: found[f"{part}_utilization"].value for part in parts})


def _memory(simulation: Simulation) -> Memory:
    pools = {
        role: {f"{part}_gb": size / 1e9 for part, size in terms.items()}
        for role, terms in simulation.memory.items()
    }
    return Memory(peak_memory_gb=simulation.metrics[metric_key("peak_memory")].value / 1e9, by_pool=pools)
