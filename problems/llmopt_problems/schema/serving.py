"""Settings of the engines that are no decisions: how prefixes are cached."""

from __future__ import annotations

from pydantic import BaseModel, Field, model_validator

from ..deployment import Caching, Eviction
from .fields import Bytes, Count, unit_keys, with_units

_CACHING = Caching()


class CacheSettings(BaseModel):
    """How ranks keep the KV of prefixes."""

    model_config = with_units(host_memory=("memory",))
    eviction: Eviction = Field(
        default=_CACHING.eviction,
        description="What goes first: the least recently used, the least often used, or the oldest.",
    )
    page_tokens: Count = Field(default=_CACHING.page_tokens, description="Tokens of one KV page.")
    host_memory_bytes: Bytes | None = Field(
        default=None,
        alias="host_memory",
        gt=0,
        description='Host memory of each accelerator for evicted prefixes, such as "64 GB"; default: none.',
    )
    _units = model_validator(mode="before")(unit_keys("host_memory"))

    def caching(self) -> Caching:
        """The same as a part of a deployment."""
        return Caching(self.eviction, self.page_tokens, self.host_memory_bytes)
