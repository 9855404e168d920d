"""AIConfigurator's `exp.yaml`: one experiment of it (ai-dynamo/aiconfigurator, `cli/example.yaml`).

An experiment has lengths, mean latencies to keep, accelerators and the parallel degrees to try, but no load:
it maximizes throughput at full batches. Here a load must be assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .draft import Assumed, Draft, Leaf, Said, Tree
from .parts import (
    OBJECTIVES,
    RATE,
    constant,
    hardware,
    known_accelerator,
    known_model,
    mapping,
    number,
    quantity,
    refused,
)

WORKERS = ("worker_config", "prefill_worker_config", "decode_worker_config")
WEIGHTS = {
    "float16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "nvfp4": "fp4",
    "int4_wo": "int4",
    "w4afp8": "int4",
}
CACHES = {"float16": "bf16", "fp8": "fp8"}
DEFAULT = "AIConfigurator's default"
LEVELS = {"ttft": 1000.0, "tpot": 40.0}
LENGTHS = {"isl": 4000, "osl": 1000}


def read(document: dict[str, Any], source: str, part: str | None) -> Draft:
    """The experiment called `part`, else the first."""
    names = document.get("exps") or [name for name, each in document.items() if isinstance(each, dict)]
    name = part or next(iter(names), "")
    if name not in names or not isinstance(document.get(name), dict):
        raise refused(source, f"there is no experiment {name}", f"give --part one of {', '.join(names)}")
    experiment = document[name]
    config = mapping(source, experiment.get("config"), "config")
    workers = [config[key] for key in WORKERS if isinstance(config.get(key), dict)]
    moe_nextn = ("nextn speculation, which solve does not know",) if config.get("nextn") else ()
    others = tuple(f"experiment {each}" for each in names if each != name)
    return Draft(_sections(experiment, workers, name, source), (*others, *moe_nextn))


def _sections(
    experiment: dict[str, Any], workers: list[dict[str, Any]], name: str, source: str
) -> dict[str, Tree]:
    backend = experiment.get("backend_name")
    engine: Leaf = Said(backend) if backend else Assumed("trtllm", DEFAULT)
    lengths = {key: _length(experiment, key, source) for key in LENGTHS}
    return {
        "kind": Said("deployment"),
        "name": Said(name),
        "model": _model(experiment, workers),
        "hardware": _hardware(experiment, source),
        "engine": engine,
        "traffic": {
            "arrivals": {"process": Assumed("poisson", "the file has no load"), "rate": RATE},
            "input_tokens": lengths["isl"],
            "output_tokens": lengths["osl"],
        },
        "slo": [_level(experiment, key, source) for key in LEVELS],
        "search": _search(experiment, workers),
        "objectives": OBJECTIVES,
    }


def _model(experiment: Mapping[str, Any], workers: list[dict[str, Any]]) -> dict[str, Tree]:
    found: dict[str, Tree] = {
        "name": known_model(experiment.get("model_path") or experiment.get("model_name"))
    }
    for key, mode, words in (
        ("weights", "gemm_quant_mode", WEIGHTS),
        ("kv_cache", "kvcache_quant_mode", CACHES),
    ):
        modes = {worker[mode] for worker in workers if worker.get(mode) in words}
        if len(modes) == 1:
            (only,) = modes
            found[key] = Said(words[only], f"{mode}: {only}")
    return found


def _hardware(experiment: Mapping[str, Any], source: str) -> dict[str, Tree]:
    systems = [experiment.get("system_name"), experiment.get("decode_system_name")]
    names = list(dict.fromkeys(known_accelerator(each) for each in systems if each))
    total = int(number(source, experiment, "total_gpus"))
    count: Leaf = Said(total) if len(names) < 2 else Assumed(total, "the file limits both types together")
    return hardware(*(names or [known_accelerator(None)]), count=count)


def _length(experiment: Mapping[str, Any], key: str, source: str) -> Tree:
    if key in experiment:
        return constant(int(number(source, experiment, key)))
    return Assumed({"distribution": "constant", "value": LENGTHS[key]}, DEFAULT)


def _level(experiment: Mapping[str, Any], key: str, source: str) -> dict[str, Tree]:
    bound = quantity(number(source, experiment, key, LEVELS[key]), "ms")
    at_most: Leaf = Said(bound) if key in experiment else Assumed(bound, DEFAULT)
    return {"metric": Said(key), "statistic": Said("mean", "AIConfigurator keeps means"), "at_most": at_most}


def _search(experiment: Mapping[str, Any], workers: list[dict[str, Any]]) -> dict[str, Tree]:
    mode = "disaggregated" if experiment.get("serving_mode") == "disagg" else "aggregated"
    search: dict[str, Tree] = {"modes": Said([mode])}
    tps, dps = (_union(workers, key) for key in ("tp_list", "dp_list"))
    if tps:
        # Our TP is the whole width of an instance: attention TP times attention data parallelism.
        widths = sorted({tp * dp for tp in tps for dp in dps or [1]})
        sizes = _union(workers, "num_gpu_per_worker")
        search["tp"] = Said([width for width in widths if not sizes or width in sizes] or widths)
    for ours, theirs in (("pp", "pp_list"), ("attention_dp", "dp_list"), ("ep", "moe_ep_list")):
        if values := _union(workers, theirs):
            search[ours] = Said(values, "" if ours == "pp" else theirs)
    return search


def _union(workers: list[dict[str, Any]], key: str) -> list[int]:
    return sorted({int(value) for worker in workers for value in worker.get(key) or ()})
