"""Accelerators and links of the catalog: `hardware.yaml` and `links.yaml`, each number with its source."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from llmopt_problems.catalog.names import name_index, resolve
from llmopt_problems.hardware.spec import AcceleratorSpec, LinkSpec

Entry = Mapping[str, Any]


@cache
def accelerator(name: str) -> AcceleratorSpec:
    """The accelerator called `name` (any case, or an alias).

    Raises `ProblemError` with the nearest names when the catalog has none of that name.
    """
    document = _document("hardware.yaml")
    entries: Mapping[str, Entry] = document["accelerators"]
    known = resolve("accelerator", name, name_index(_aliases(entries)))
    return _accelerator(known, entries[known], document["documents"])


@cache
def link(name: str) -> LinkSpec:
    """The link called `name` (any case, or an alias).

    Raises `ProblemError` with the nearest names when the catalog has none of that name.
    """
    document = _document("links.yaml")
    entries: Mapping[str, Entry] = document["links"]
    known = resolve("link", name, name_index(_aliases(entries)))
    entry, documents = entries[known], document["documents"]
    source = f"rate: {documents[entry['rate']]}; latency: {documents[entry['latency']]}"
    return LinkSpec(known, entry["bytes_per_s"], entry["latency_s"], source)


def accelerator_names() -> tuple[str, ...]:
    """Names of all accelerators, in the catalog's order."""
    return tuple(_document("hardware.yaml")["accelerators"])


def link_names() -> tuple[str, ...]:
    """Names of all links, in the catalog's order."""
    return tuple(_document("links.yaml")["links"])


def _accelerator(name: str, entry: Entry, documents: Mapping[str, str]) -> AcceleratorSpec:
    sources = {field: "; ".join(documents[key] for key in keys) for field, keys in entry["sources"].items()}
    return AcceleratorSpec(
        name=name,
        peak_flops_per_s=entry["peak_flops_per_s"],
        hbm_bytes=float(entry["hbm_bytes"]),
        hbm_bytes_per_s=float(entry["hbm_bytes_per_s"]),
        sm_count=entry["sm_count"],
        idle_watts=float(entry["idle_watts"]),
        peak_watts=float(entry["peak_watts"]),
        gpus_per_node=entry["gpus_per_node"],
        scale_up=link(entry["scale_up"]),
        scale_up_gpus=entry["scale_up_gpus"],
        network=link(entry["network"]),
        host=link(entry["host"]),
        sources=sources,
    )


def _aliases(entries: Mapping[str, Entry]) -> dict[str, list[str]]:
    return {name: entry.get("aliases", []) for name, entry in entries.items()}


@cache
def _document(file: str) -> Mapping[str, Any]:
    return yaml.safe_load(files(__package__).joinpath(file).read_text(encoding="utf-8"))
