"""Every format that can be imported, how one recognises it, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ..document import check_tree, compose, plain, read_text
from . import aiconfigurator, blis, hugging_face, inference_perf, servers
from .draft import Draft
from .parts import refused

ImportFormat = Literal["aiconfigurator", "blis", "inference-perf", "sglang", "vllm", "hugging-face"]
Reader = Callable[[dict[str, Any], str, str | None], Draft]

FORMATS: Mapping[ImportFormat, Reader] = {
    "aiconfigurator": aiconfigurator.read,
    "blis": blis.read,
    "inference-perf": inference_perf.read,
    "sglang": servers.read_sglang,
    "vllm": servers.read_vllm,
    "hugging-face": hugging_face.read,
}
_COMMANDS: Mapping[str, ImportFormat] = {
    "sglang.launch_server": "sglang",
    "sglang serve": "sglang",
    "vllm serve": "vllm",
}


def read_draft(path: str | Path, kind: ImportFormat | None = None, part: str | None = None) -> Draft:
    """The file as the draft of a problem; `kind` is guessed where it is not given.

    `part` chooses an experiment of AIConfigurator or a stage of inference-perf. Raises ProblemError.
    """
    source = str(path)
    text = read_text(Path(path))
    command = next((found for words, found in _COMMANDS.items() if words in text), None)
    if command is not None and not text.lstrip().startswith("{"):
        return FORMATS[command](servers.read_command(text), source, part)
    document = _document(text, source)
    found = kind or guess_format(document)
    if found is None:
        remedy = f"give --format, one of {', '.join(FORMATS)}"
        raise refused(source, "nobody can tell what wrote this", remedy)
    return FORMATS[found](document, source, part)


def guess_format(document: Mapping[str, Any]) -> ImportFormat | None:
    """What wrote a file, by keys that only it has."""
    entries = [each for each in document.values() if isinstance(each, dict)]
    if "exps" in document or any("system_name" in each and "total_gpus" in each for each in entries):
        return "aiconfigurator"
    if "clients" in document or "aggregate_rate" in document:
        return "blis"
    if "load" in document and "data" in document:
        return "inference-perf"
    if "model_type" in document or "text_config" in document:
        return "hugging-face"
    if "tp_size" in document or "mem_fraction_static" in document:
        return "sglang"
    dashed = {key.replace("-", "_") for key in document}
    return "vllm" if dashed & {"tensor_parallel_size", "max_num_seqs", "gpu_memory_utilization"} else None


def _document(text: str, source: str) -> dict[str, Any]:
    root = compose(text, source)
    check_tree(root)
    found = plain(root)
    if not isinstance(found, dict):
        raise refused(source, "it holds no keys and values", "give a YAML or JSON file, or a command")
    return found
