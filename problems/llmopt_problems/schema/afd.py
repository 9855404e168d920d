"""Attention–FFN disaggregation: the decode pool's attention and experts on accelerators of their own."""

from __future__ import annotations

from pydantic import BaseModel, Field

from .domains import Domain, domain_of
from .fields import SECTION


class AfdSettings(BaseModel):
    """What may be chosen of a decode instance whose experts have accelerators of their own."""

    model_config = SECTION
    attention_gpus: Domain = Field(description="Accelerators of an instance for attention and KV cache.")
    ffn_gpus: Domain = Field(description="Accelerators of an instance for experts and dense blocks.")
    micro_batches: Domain = Field(
        default=domain_of(1, 2, 3, 4),
        description="Parts of a batch that both kinds of accelerators work on in turn.",
    )
