"""All laws by family name, built once."""

from __future__ import annotations

from functools import cache

from llmopt_calibration.laws import (
    attention,
    collectives,
    elementwise,
    gemm,
    latent_attention,
    linear_attention,
    moe,
)
from llmopt_calibration.laws.law import Law


def _all_laws() -> tuple[Law, ...]:
    by_weights = (gemm.gemm, latent_attention.batched_gemm, moe.moe)
    by_cache = (
        attention.attention_prefill,
        attention.attention_decode,
        latent_attention.mla_prefill,
        latent_attention.mla_decode,
    )
    single = (
        elementwise.elementwise,
        elementwise.engine_step,
        linear_attention.linear_attention_decode,
        linear_attention.linear_attention_prefill,
        collectives.all_reduce,
        collectives.all_gather,
        collectives.reduce_scatter,
        collectives.all_to_all,
        collectives.expert_dispatch,
        collectives.expert_combine,
        collectives.send,
    )
    return (
        *(build(precision) for build in by_weights for precision in gemm.FORMATS),
        *(build(precision) for build in by_cache for precision in attention.KV_BYTES),
        *(build() for build in single),
    )


@cache
def laws() -> dict[str, Law]:
    """Every law by its family name."""
    return {law.family: law for law in _all_laws()}


def law(family: str) -> Law:
    """The law of one family, such as `gemm_fp8` or `attention_decode_bf16`; `KeyError` names the known
    ones.
    """
    known = laws()
    if family not in known:
        raise KeyError(f"no law called {family!r}; known: {', '.join(sorted(known))}")
    return known[family]
