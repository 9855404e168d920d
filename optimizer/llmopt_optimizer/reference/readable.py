"""The serving modes with the laws of one step left as letters, so that a metric's formula fills lines, not
pages.

The systems are those that the optimizer solves, made by the same functions; only what is written out in full
elsewhere (the seconds and work of a step, bytes of memory, data-sheet numbers) is a symbol here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from sympy import Expr, Function, Symbol

from llmopt_calibration.step.symbols import StepSymbols
from llmopt_optimizer.core.program import System
from llmopt_optimizer.formulation.build import surroundings
from llmopt_optimizer.formulation.disaggregated import Transfer
from llmopt_optimizer.formulation.pool import MemoryInputs, PoolInputs
from llmopt_optimizer.formulation.systems import Offer, aggregated_system, disaggregated_system
from llmopt_optimizer.metrics.batches import Quantity
from llmopt_optimizer.scenario import resolve
from llmopt_optimizer.symbols import pool_symbols
from llmopt_problems import load
from llmopt_problems.deployment import Mode, Role


@dataclass(frozen=True, slots=True)
class Letter:
    """How a symbol is written, and what it stands for."""

    latex: str
    unit: str
    meaning: str


def _letter(name: str) -> Symbol:
    return Symbol(name, positive=True)


CONSTANTS: Mapping[str, Letter] = {
    "price": Letter("P", "$/h", "price of one accelerator"),
    "peak_flops": Letter(r"F", "FLOP/s", "dense peak of the accelerator in the weights' arithmetic"),
    "hbm_bandwidth": Letter(r"W", "bytes/s", "peak memory bandwidth of the accelerator"),
    "hbm_bytes": Letter("M", "bytes", "memory of the accelerator"),
    "link_bandwidth": Letter(r"L", "bytes/s", "bandwidth of the accelerator's scale-up link"),
    "idle_watts": Letter(r"p_0", "W", "idle power of the accelerator"),
    "peak_watts": Letter(r"p_1", "W", "peak power of the accelerator"),
    "fixed_bytes": Letter("m", "bytes", "weights, activations of the largest step and runtime reserve"),
    "kv_bytes_per_token": Letter(r"\kappa", "bytes", "KV cache of one token on one accelerator"),
    "kv_capacity_tokens": Letter(r"T", "tokens", "what the KV pool of a rank holds"),
    "latency_s": Letter(r"\ell", "s", "latency of the KV link"),
    "send_s": Letter(r"s_p", "s", "time of a mean request's KV through the sender's links"),
    "receive_s": Letter(r"s_d", "s", "the same through the receiver's links"),
    "layers": Letter(r"n_\ell", "1", "parts in which the KV of a request is sent"),
}
FUNCTIONS: Mapping[Quantity, Letter] = {
    "seconds": Letter("t", "s", "time of one step of an engine: the sum of its operators' laws"),
    "flops": Letter("f", "FLOP", "work of one accelerator in a step"),
    "hbm_bytes": Letter("g", "bytes", "memory traffic of one accelerator in a step"),
    "network_bytes": Letter("h", "bytes", "network traffic of one accelerator in a step"),
}
STEP_STATE = (
    "decoding sequences of a rank, their total context, prefill tokens, their attention work (query-context "
    "pairs), tokens of the whole engine, sequences that need logits"
)


@dataclass(frozen=True, slots=True)
class _Step:
    """A step law whose sums are undefined functions of the step state."""

    role: Role
    symbols: StepSymbols

    def seconds(self, *, decode: bool = True, prefill: bool = True) -> Expr:
        return self._applied("seconds")

    def flops(self, *, decode: bool = True, prefill: bool = True) -> Expr:
        return self._applied("flops")

    def hbm_bytes(self, *, decode: bool = True, prefill: bool = True) -> Expr:
        return self._applied("hbm_bytes")

    def network_bytes(self, *, decode: bool = True, prefill: bool = True) -> Expr:
        return self._applied("network_bytes")

    def _applied(self, quantity: Quantity) -> Expr:
        return Function(FUNCTIONS[quantity].latex, positive=True)(*self.symbols.all())


def readable_system(mode: Mode, *, closed_loop: bool) -> System:
    """The system of a serving mode on one accelerator type, laws and data-sheet numbers as letters."""
    around = replace(surroundings(resolve(load("quickstart"))), closed_loop=closed_loop, equal_inputs=False)
    if mode == "aggregated":
        return aggregated_system([_offer("serve")], around)
    transfer = Transfer(
        latency_s=_letter("latency_s"),
        send_s=_letter("send_s"),
        receive_s=_letter("receive_s"),
        layers=cast(Any, _letter("layers")),
    )
    return disaggregated_system([_offer("prefill")], [_offer("decode")], around, lambda *_: transfer)


def _offer(role: Role) -> Offer:
    site = resolve(load("quickstart")).sites[0].accelerator
    letters: Any = {
        "peak_flops_per_s": {"bf16": _letter("peak_flops")},
        "hbm_bytes_per_s": _letter("hbm_bandwidth"),
        "hbm_bytes": _letter("hbm_bytes"),
        "idle_watts": _letter("idle_watts"),
        "peak_watts": _letter("peak_watts"),
        "scale_up": replace(site.scale_up, bytes_per_s=cast(Any, _letter("link_bandwidth"))),
    }
    memory = (
        _letter(f"{role}_{name}") for name in ("fixed_bytes", "kv_bytes_per_token", "kv_capacity_tokens")
    )
    inputs = PoolInputs(
        role=role,
        symbols=pool_symbols(role),
        law=cast(Any, _Step(role, StepSymbols())),
        memory=MemoryInputs(*memory),
        accelerator=replace(site, **letters),
        arithmetic="bf16",
        usd_per_gpu_hour=cast(Any, _letter("price")),
        largest_request_tokens=cast(Any, _letter("largest_request_tokens")),
    )
    return Offer(inputs, (), (), cast(Any, _letter("stock")))
