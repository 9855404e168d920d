"""Accelerators and links as the laws see them: peaks, capacities, and who measured or published them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A link between two accelerators, one direction."""

    name: str
    bytes_per_s: float
    """Peak payload rate of one direction, one accelerator."""
    latency_s: float
    source: str
    reached: bool = False
    """Whether transfers reach these numbers; else fitted efficiencies and overheads are between."""


@dataclass(frozen=True, slots=True)
class AcceleratorSpec:
    """Data-sheet facts of one accelerator. Peaks are dense, never with structured sparsity."""

    name: str
    peak_flops_per_s: Mapping[str, float]
    """Dense peak by arithmetic: keys bf16, fp8, fp4, int8 where the chip has them."""
    hbm_bytes: float
    hbm_bytes_per_s: float
    sm_count: int
    """Streaming multiprocessors, compute units or tensor cores: the unit of wave quantisation."""
    idle_watts: float
    peak_watts: float
    gpus_per_node: int
    scale_up: LinkSpec
    """The link inside a node or rack (NVLink, Infinity Fabric, PCIe)."""
    scale_up_gpus: int
    """Accelerators that the scale-up link joins: 8 on an HGX board, 72 on an NVL72 rack."""
    network: LinkSpec
    """The link between nodes, per accelerator."""
    host: LinkSpec
    sources: Mapping[str, str]
    """Field name to the document that the number comes from."""
