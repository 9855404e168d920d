"""The operators to be timed, built of PyTorch: what runs is the library's kernel for that shape.

Weights lie as engines keep them, [output, input], so that products read them transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from llmopt_calibration.profiling.plan import BF16_BYTES, Case

Operator = Callable[[], object]
Shape = Mapping[str, int]
FP8_CAPABILITY = (8, 9)
"""CUDA compute capability from which tensor cores multiply e4m3."""


class NotMeasurableError(Exception):
    """A case that this build of PyTorch or this device cannot run."""


def operator(case: Case, device: str) -> Operator:
    """A function that runs `case` once on `device`; its inputs are random and allocated here.

    Raises `NotMeasurableError` for a family that PyTorch cannot run there.
    """
    if case.family not in _BUILDERS:
        raise NotMeasurableError(f"{case.family} is not run on one device")
    return _BUILDERS[case.family](case.shape, device)


def has_fp8(device: str) -> bool:
    """Whether products of fp8 run on the device."""
    return device != "cpu" and torch.cuda.get_device_capability(device) >= FP8_CAPABILITY


def _random(device: str, *sizes: int) -> Any:
    return torch.randn(sizes, dtype=torch.bfloat16, device=device)


def _copy(shape: Shape, device: str) -> Operator:
    source = _random(device, max(1, shape["bytes_moved"] // (2 * BF16_BYTES)))
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _gemm(shape: Shape, device: str) -> Operator:
    x = _random(device, shape["tokens"], shape["input_width"])
    weights = _random(device, shape["output_width"], shape["input_width"]).t()
    return lambda: torch.mm(x, weights)


def _gemm_fp8(shape: Shape, device: str) -> Operator:
    """Per-tensor scales, output in bf16; rows padded to the sixteen that the kernel asks for."""
    rows = -(-shape["tokens"] // 16) * 16
    x = _random(device, rows, shape["input_width"]).to(torch.float8_e4m3fn)
    weights = _random(device, shape["output_width"], shape["input_width"]).to(torch.float8_e4m3fn).t()
    one = torch.ones((), device=device)
    return lambda: torch._scaled_mm(x, weights, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def _cache(shape: Shape, device: str, batch: int, tokens: int) -> tuple[Any, Any]:
    sizes = (batch, shape["kv_heads"], tokens)
    return _random(device, *sizes, shape["head_dim"]), _random(device, *sizes, shape["value_dim"])


def _prefill(shape: Shape, device: str) -> Operator:
    tokens = shape["tokens"]
    queries = _random(device, 1, shape["query_heads"], tokens, shape["head_dim"])
    keys, values = _cache(shape, device, 1, tokens)
    grouped = shape["query_heads"] != shape["kv_heads"]
    return lambda: functional.scaled_dot_product_attention(
        queries, keys, values, is_causal=True, enable_gqa=grouped
    )


def _decode(shape: Shape, device: str) -> Operator:
    batch = shape["sequences"]
    queries = _random(device, batch, shape["query_heads"], 1, shape["head_dim"])
    keys, values = _cache(shape, device, batch, shape["context"] // batch)
    grouped = shape["query_heads"] != shape["kv_heads"]
    return lambda: functional.scaled_dot_product_attention(queries, keys, values, enable_gqa=grouped)


def _experts(shape: Shape, device: str) -> Operator:
    """Gather by expert, two grouped products with a gated activation between, weighted sum by token."""
    hidden, width, experts = shape["hidden"], shape["intermediate"], shape["experts"]
    tokens, chosen = shape["tokens"], shape["experts_per_token"]
    x = _random(device, tokens, hidden)
    inward = _random(device, experts, 2 * width, hidden).transpose(1, 2)
    outward = _random(device, experts, hidden, width).transpose(1, 2)
    generator = torch.Generator().manual_seed(0)
    picked = torch.rand(tokens, experts, generator=generator).topk(chosen).indices.flatten()
    order = picked.argsort(stable=True)
    ends = picked.bincount(minlength=experts).cumsum(0).to(torch.int32)
    rows, ends_there = (order // chosen).to(device), ends.to(device)
    share = torch.full((tokens * chosen, 1), 1.0 / chosen, dtype=torch.bfloat16, device=device)
    multiply = _grouped(device, ends.tolist(), ends_there)

    def run() -> object:
        gate, up = multiply(x[rows], inward).chunk(2, dim=-1)
        result = multiply(functional.silu(gate) * up, outward)
        return torch.zeros_like(x).index_add_(0, rows, result * share)

    return run


def _grouped(device: str, ends: list[int], ends_there: Any) -> Callable[[Any, Any], Any]:
    """Products of row groups with their own matrices: the grouped kernel, on a processor a loop."""
    if device != "cpu":
        if not hasattr(functional, "grouped_mm"):
            raise NotMeasurableError(
                "moe_bf16 needs torch.nn.functional.grouped_mm: install PyTorch 2.10 or later"
            )
        return lambda x, matrices: functional.grouped_mm(x, matrices, offs=ends_there)
    parts = [
        (start, end, i) for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False)) if end > start
    ]
    return lambda x, matrices: torch.cat([x[start:end] @ matrices[i] for start, end, i in parts])


_BUILDERS: Mapping[str, Callable[[Shape, str], Operator]] = {
    "elementwise": _copy,
    "gemm_bf16": _gemm,
    "gemm_fp8": _gemm_fp8,
    "attention_prefill_bf16": _prefill,
    "attention_decode_bf16": _decode,
    "moe_bf16": _experts,
}
