"""What is deployed and what there is to deploy it on: the model and hardware sections."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from ..models.spec import KvPrecision, WeightPrecision
from .fields import (
    SECTION,
    BytesPerSecond,
    Count,
    DollarsPerHour,
    ExistingFile,
    Seconds,
    unit_keys,
    with_units,
)

Engine = Literal["sglang", "vllm", "trtllm"]


class ModelChoice(BaseModel):
    """The model to serve, by catalog name or by its Hugging Face `config.json`, and its precisions."""

    model_config = SECTION
    name: str | None = Field(
        default=None, min_length=1, description="Name in the catalog (`llmopt catalog`)."
    )
    config: ExistingFile | None = Field(
        default=None, description="Path to a Hugging Face config.json, relative to this file."
    )
    weights: Literal["native", WeightPrecision] = Field(
        default="native", description="Precision of the weights; native is that of the published checkpoint."
    )
    kv_cache: KvPrecision = Field(default="bf16", description="Precision of the KV cache.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.config is None):
            raise RuleError(
                "the model needs a name or a config, and not both",
                "model-source",
                "write name: Llama-3.3-70B, or config: path/to/config.json",
            )
        return self


class AcceleratorOffer(BaseModel):
    """Accelerators of one type: how many there are and what one costs."""

    model_config = with_units(price=("price",))
    name: str = Field(min_length=1, description="Name in the catalog (`llmopt catalog`).")
    count: Count = Field(description="How many there are; a deployment uses at most that many.")
    price_usd_per_h: DollarsPerHour = Field(
        alias="price", ge=0, description='Price of one accelerator, such as "3.50 USD/h".'
    )
    node_gpus: Count | None = Field(
        default=None, description="Accelerators in one node; default: as in the catalog."
    )
    scale_up: str | None = Field(
        default=None, description="Catalog name of the link inside a node; default: as in the catalog."
    )
    network: str | None = Field(
        default=None, description="Catalog name of the link between nodes; default: as in the catalog."
    )
    _units = model_validator(mode="before")(unit_keys("price"))


class KvLink(BaseModel):
    """The way of KV caches from prefill to decode instances, as fast as it really is."""

    model_config = with_units(bandwidth=("bandwidth",), latency=("time",))
    bandwidth_bytes_per_s: BytesPerSecond = Field(
        alias="bandwidth",
        gt=0,
        description='What one accelerator sends or receives, one direction, such as "50 GB/s".',
    )
    latency_s: Seconds = Field(
        default=0.0, alias="latency", ge=0, description='Time before the first byte arrives, such as "1 ms".'
    )
    _units = model_validator(mode="before")(unit_keys("bandwidth", "latency"))


class Racks(BaseModel):
    """Racks whose nodes share a link to all others."""

    model_config = with_units(bandwidth=("bandwidth",), latency=("time",))
    gpus: Count = Field(description="Accelerators of a rack, whole nodes.")
    bandwidth_bytes_per_s: BytesPerSecond = Field(
        alias="bandwidth",
        gt=0,
        description='What a rack can send to all others, and receive, such as "400 GB/s".',
    )
    latency_s: Seconds = Field(
        default=0.0, alias="latency", ge=0, description='What it adds to a KV transfer, such as "5 us".'
    )
    _units = model_validator(mode="before")(unit_keys("bandwidth", "latency"))


class Hardware(BaseModel):
    """What a deployment may be built from."""

    model_config = SECTION
    racks: Racks | None = Field(
        default=None, description="Racks that KV transfers may leave; default: one holds everything."
    )
    kv_link: KvLink | None = Field(
        default=None,
        description="Between prefill and decode instances; default: the network of the slower end.",
    )
    accelerators: tuple[AcceleratorOffer, ...] = Field(
        strict=False,
        min_length=1,
        max_length=32,
        description="One entry a type; the search chooses among them.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [offer.name.casefold() for offer in self.accelerators]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise RuleError(
                    f"{name} is offered twice",
                    "accelerator-duplicate",
                    "give each accelerator one entry with its whole count",
                    ("accelerators", index, "name"),
                )
        return self
