"""inference-perf configs: one stage of the load (kubernetes-sigs/inference-perf, `config.py`)."""

from __future__ import annotations

from typing import Any

from .draft import Assumed, Draft, Leaf, Missing, Said, Tree
from .parts import (
    ACCELERATOR,
    OBJECTIVES,
    constant,
    hardware,
    known_model,
    mapping,
    normal,
    number,
    quantity,
    refused,
)

PROCESSES = {"constant": "deterministic", "poisson": "poisson"}
DEFAULTS = {"mean": 512.0, "std_dev": 200.0, "min": 10, "max": 1024}
LENGTHS = Missing('"{distribution: constant, value: 500}"')


def read(document: dict[str, Any], source: str, part: str | None) -> Draft:
    """The stage number `part`, counted from 1, else the one with the highest load."""
    load = mapping(source, document.get("load"), "load")
    stages = load.get("stages")
    if not isinstance(stages, list) or not stages:
        raise refused(source, "there are no stages", "write load.stages with rate and duration", "load")
    number_of_stage = _stage(stages, part, source)
    server = mapping(source, document.get("server"), "server")
    nested = mapping(source, server.get("vllm"), "server.vllm").get("model")
    name = server.get("model_name") or (nested.get("name") if isinstance(nested, dict) else None)
    sections: dict[str, Tree] = {
        "kind": Said("deployment"),
        "name": Said(f"stage {number_of_stage}"),
        "model": {"name": known_model(name)},
        "hardware": hardware(ACCELERATOR),
        "engine": _engine(server),
        "traffic": _traffic(document, load, stages[number_of_stage - 1], source),
        "objectives": OBJECTIVES,
    }
    others = [f"stage {i}" for i in range(1, len(stages) + 1) if i != number_of_stage]
    return Draft(sections, tuple(others))


def _stage(stages: list[dict[str, Any]], part: str | None, source: str) -> int:
    if part is None:
        loads = [stage.get("rate") or stage.get("concurrency_level") or 0 for stage in stages]
        return 1 + loads.index(max(loads))
    if not part.isdecimal() or not 1 <= int(part) <= len(stages):
        raise refused(source, f"there is no stage {part}", f"give --part 1 to {len(stages)}")
    return int(part)


def _engine(server: dict[str, Any]) -> Leaf:
    kind = server.get("type") or ("vllm" if "vllm" in server else None)
    return Said(kind) if kind in ("vllm", "sglang") else Assumed("vllm", "the file names no known engine")


def _traffic(
    document: dict[str, Any], load: dict[str, Any], stage: dict[str, Any], source: str
) -> dict[str, Tree]:
    if stage.get("concurrency_level"):
        users = int(number(source, stage, "concurrency_level"))
        arrivals: dict[str, Tree] = {"process": Said("closed_loop"), "concurrency": Said(users)}
    else:
        kind = load.get("type", "constant")
        if kind not in PROCESSES:
            raise refused(
                source, f"load of type {kind} has no counterpart", "use constant or poisson", "load"
            )
        rate = Said(quantity(number(source, stage, "rate"), "req/s"))
        arrivals = {"process": Said(PROCESSES[kind]), "rate": rate}
    return {"arrivals": arrivals, **_data(mapping(source, document.get("data"), "data"), source)}


def _data(data: dict[str, Any], source: str) -> dict[str, Tree]:
    match data.get("type"):
        case "synthetic" | "random":
            return {
                "input_tokens": _length(data.get("input_distribution"), source),
                "output_tokens": _length(data.get("output_distribution"), source),
            }
        case "shared_prefix":
            return _shared(mapping(source, data.get("shared_prefix"), "shared_prefix"), source)
    return {"input_tokens": LENGTHS, "output_tokens": LENGTHS}


def _shared(values: dict[str, Any], source: str) -> dict[str, Tree]:
    prefix, question, output = (
        int(number(source, values, key)) for key in ("system_prompt_len", "question_len", "output_len")
    )
    groups = values.get("num_unique_system_prompts", values.get("num_groups", 1))
    return {
        "input_tokens": constant(prefix + question),
        "output_tokens": constant(output),
        "shared_prefix": {"tokens": Said(prefix), "groups": Said(int(groups))},
    }


def _length(value: object, source: str) -> Tree:
    given = mapping(source, value, "distribution")
    spread = "std_dev" if "std_dev" in given or "std" not in given else "std"
    numbers = {
        key: number(source, given, key, default) for key, default in DEFAULTS.items() if key != "std_dev"
    }
    deviation = number(source, given, spread, DEFAULTS["std_dev"])
    found = normal(numbers["mean"], deviation, int(numbers["min"]), int(numbers["max"]))
    if given or not isinstance(found, Said):
        return found
    return Assumed(found.value, "inference-perf's default")
