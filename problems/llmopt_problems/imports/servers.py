"""Running servers as problems: SGLang's `/get_server_info`, vLLM's settings, or the command that starts them.

The settings become the problem's engine settings, and the layout is told as what runs today, for `llmopt
simulate PROBLEM --deployment` and `llmopt explain --against`. The search stays open. Counts are by rank here:
SGLang counts requests and chunks over attention data-parallel ranks, vLLM by rank.
"""

from __future__ import annotations

import shlex
from typing import Any

from .. import catalog
from ..models.spec import MoeFfn
from .draft import Assumed, Draft, Leaf, Missing, Said, Tree
from .parts import ACCELERATOR, OBJECTIVES, RATE, hardware, known_model

LENGTHS = Missing('"{distribution: constant, value: 500}"')
WEIGHTS = {"fp8": "fp8", "awq": "int4", "gptq": "int4", "modelopt_fp4": "fp4", "compressed-tensors": "native"}
SHORT = {"tp": "tp_size", "dp": "dp_size", "pp": "pp_size", "ep": "ep_size", "model": "model_path"}


def read_command(text: str) -> dict[str, Any]:
    """The options of a command line as keys with underscores; flags without a value are true."""
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    found: dict[str, Any] = {}
    if "serve" in words[:3] and len(words) > words.index("serve") + 1:
        found["model"] = words[words.index("serve") + 1]
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if not word.startswith("--"):
            continue
        key, equals, value = word.removeprefix("--").partition("=")
        given = value if equals else (True if following.startswith("--") else following)
        found[key.replace("-", "_")] = _value(given)
    return found


def _value(text: str | bool) -> Any:
    if isinstance(text, bool):
        return text
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def read_sglang(document: dict[str, Any], source: str, part: str | None) -> Draft:
    """The settings of SGLang's server; `document` is flat, as `/get_server_info` and the options have it."""
    given = {SHORT.get(key, key): value for key, value in document.items()}
    tp, pp, ep = (int(given.get(f"{name}_size") or 1) for name in ("tp", "pp", "ep"))
    attention_dp = _attention_dp(given)
    copies = 1 if attention_dp > 1 else int(given.get("dp_size") or 1)
    layout = {"tp": tp, "pp": pp, "ep": ep, "dp": attention_dp, "instances": copies}
    chunk, running = given.get("chunked_prefill_size"), given.get("max_running_requests")
    if isinstance(chunk, int) and chunk > 0:
        # Running servers tell the chunk of a rank, commands that of all of them.
        layout["chunk_tokens"] = chunk if "internal_states" in given else max(1, chunk // attention_dp)
    if isinstance(running, int):
        layout["batch_cap"] = max(1, running // (attention_dp * pp))
    search: dict[str, Tree] = {
        "prefix_cache": Said(not given.get("disable_radix_cache", False)),
        "scheduling": {
            "mixing": Said("decode_first" if given.get("enable_mixed_chunk") else "prefill_first")
        },
        "memory_fraction": Assumed(0.9, "mem_fraction_static counts weights and KV cache only"),
    }
    return _draft("sglang", given.get("model_path"), given, layout, search)


def _attention_dp(given: dict[str, Any]) -> int:
    """Ranks of attention data parallelism; plain `--dp-size` starts copies instead."""
    if given.get("attn_dp_size"):
        return int(given["attn_dp_size"])
    return int(given.get("dp_size") or 1) if given.get("enable_dp_attention") else 1


def read_vllm(document: dict[str, Any], source: str, part: str | None) -> Draft:
    """The settings of vLLM: its `--config` file or its options."""
    given = {key.replace("-", "_"): value for key, value in document.items()}
    tp, dp, pp = (int(given.get(f"{name}_parallel_size") or 1) for name in ("tensor", "data", "pipeline"))
    spread = bool(given.get("enable_expert_parallel"))
    layout = {"tp": tp * dp, "pp": pp, "ep": tp * dp if spread else 1, "dp": dp, "instances": 1}
    if dp > 1 and not spread and not _is_moe(given.get("model")):
        layout |= {"tp": tp, "dp": 1, "instances": dp}
    for key, ours in (("max_num_batched_tokens", "chunk_tokens"), ("max_num_seqs", "batch_cap")):
        if isinstance(given.get(key), int):
            layout[ours] = given[key] if ours == "chunk_tokens" else max(1, given[key] // pp)
    fraction = given.get("gpu_memory_utilization")
    search: dict[str, Tree] = {
        "prefix_cache": Said(bool(given.get("enable_prefix_caching", True))),
        "memory_fraction": Said(fraction) if fraction else Assumed(0.9, "vLLM's default"),
    }
    return _draft("vllm", given.get("model"), given, layout, search)


def _is_moe(model: object) -> bool:
    """Whether data-parallel ranks share the experts of a model; those of a dense one are copies of it."""
    known = known_model(model)
    if not isinstance(known, Said):
        return False
    return any(isinstance(group.ffn, MoeFfn) for group in catalog.model(known.value).layers)


def _draft(
    engine: str, model: object, given: dict[str, Any], layout: dict[str, int], search: dict[str, Tree]
) -> Draft:
    gpus = layout["tp"] * layout["pp"] * layout["instances"]
    known = known_model(model)
    sections: dict[str, Tree] = {
        "kind": Said("deployment"),
        "name": Said("today"),
        "model": {"name": known, **_precision(given, known)},
        "hardware": hardware(ACCELERATOR, count=Assumed(gpus, "as many as run today")),
        "engine": Said(engine),
        "traffic": {
            "arrivals": {"process": Assumed("poisson", "the file has no load"), "rate": RATE},
            "input_tokens": LENGTHS,
            "output_tokens": LENGTHS,
        },
        "search": search,
        "objectives": OBJECTIVES,
    }
    speculates = any(given.get(key) for key in ("speculative_algorithm", "speculative_config"))
    left = ("speculation, which solve does not know",) if speculates else ()
    return Draft(sections, left, ",".join(f"{key}={value}" for key, value in layout.items()))


def _quantized(model: Leaf) -> bool:
    """Whether a checkpoint is published in the precision that `--quantization` only confirms."""
    return isinstance(model, Said) and catalog.model(model.value).native_weights != "bf16"


def _precision(given: dict[str, Any], model: Leaf) -> dict[str, Tree]:
    cache = str(given.get("kv_cache_dtype") or "auto")
    found: dict[str, Tree] = {"kv_cache": Said("fp8" if cache.startswith("fp8") else "bf16", cache)}
    weights: Leaf | None = None
    if given.get("quantization") and not _quantized(model):
        name = str(given["quantization"])
        weights = Said(WEIGHTS[name], name) if name in WEIGHTS else Assumed("native", f"{name} is unknown")
    return found if weights is None else {"weights": weights, **found}
