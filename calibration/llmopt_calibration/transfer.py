"""How long a request's KV cache takes from the prefill instance to the decode instance.

The whole context moves, whatever part of it a prefix cache saved from computing. A layer's cache arrives
once on every decode rank that keeps it, so KV heads are repeated where the ranks outnumber them and a
latent goes to each rank of the replica. All accelerators of the smaller side move their parts at once,
each over its own link.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from llmopt_calibration.coefficients import CoefficientSet, FamilyCoefficients
from llmopt_calibration.laws import Number, law
from llmopt_calibration.memory import MemoryLaw
from llmopt_calibration.precision import Precision
from llmopt_calibration.step.symbols import SymbolicLayout, symbolic
from llmopt_problems.deployment import Layout
from llmopt_problems.hardware.spec import LinkSpec
from llmopt_problems.models.facts import KvGroup, kv_layout
from llmopt_problems.models.spec import ModelSpec

_REACHED = {"network_efficiency": 1.0, "overhead_s": 0.0}


@dataclass(frozen=True, slots=True)
class TransferLaw:
    """Moving one request's cache from a rank of one layout to a rank of another."""

    groups: tuple[tuple[KvGroup, sp.Expr], ...]
    """Each layer group's cache and how many copies of it move."""
    latency_s: float
    sender_bytes_per_s: sp.Expr
    """Of all accelerators that hold one rank's cache, together."""
    receiver_bytes_per_s: sp.Expr

    @property
    def bytes_per_token(self) -> sp.Expr:
        """Bytes moved for one more token of a short request (windows not yet full)."""
        return sp.Add(*(copies * group.bytes_per_token for group, copies in self.groups))

    def bytes_moved(self, tokens: Number) -> sp.Expr:
        """Bytes moved for a context of `tokens`: windows cut off, constant states added."""
        return sp.Add(*(copies * _held_bytes(group, tokens) for group, copies in self.groups))

    def seconds(self, tokens: Number) -> sp.Expr:
        """Seconds for a context of `tokens` when no other transfer shares the links."""
        rate = sp.Min(self.sender_bytes_per_s, self.receiver_bytes_per_s)
        return self.latency_s + self.bytes_moved(tokens) / rate


def kv_transfer_law(
    model: ModelSpec,
    precision: Precision,
    prefill_layout: Layout | SymbolicLayout,
    decode_layout: Layout | SymbolicLayout,
    link: LinkSpec,
    coefficients: CoefficientSet | None = None,
) -> TransferLaw:
    """The transfer over `link`, one link an accelerator, with the fit or default of the `send` law.

    A link whose numbers are `reached` needs neither.
    """
    prefill, decode = symbolic(prefill_layout), symbolic(decode_layout)
    send = _REACHED if link.reached else _send_values(coefficients)
    rate = sp.Float(link.bytes_per_s * send["network_efficiency"])
    groups = kv_layout(model, precision.kv)
    return TransferLaw(
        tuple((group, sp.Max(1, decode.attention_tp / sp.Integer(group.max_shards))) for group in groups),
        link.latency_s + send["overhead_s"],
        rate * prefill.attention_tp * prefill.pp,
        rate * decode.attention_tp * decode.pp,
    )


@dataclass(frozen=True, slots=True)
class HostLoadLaw:
    """Loading cached tokens of one rank from the host memory of its accelerators, each over its own link."""

    bytes_per_token: sp.Expr
    """On the fullest accelerator."""
    latency_s: float
    bytes_per_s: float

    def capacity_tokens(self, host_bytes: Number, batches: Number) -> sp.Expr:
        """Tokens that a rank keeps in `host_bytes` of each accelerator, which `batches` engines share."""
        return host_bytes / (self.bytes_per_token * batches)

    def seconds(self, tokens: Number) -> sp.Expr:
        """Seconds to load `tokens` when nothing else uses the link."""
        return self.latency_s + self.bytes_per_token * tokens / self.bytes_per_s


def host_load_law(memory: MemoryLaw, batches: Number, link: LinkSpec) -> HostLoadLaw:
    """The load over the data-sheet's host link, where `batches` engines (`pp`) share each accelerator.

    The bytes are those of the memory law, which counts a token of every batch.
    """
    return HostLoadLaw(memory.kv_bytes_per_token / batches, link.latency_s, link.bytes_per_s)


def _send_values(coefficients: CoefficientSet | None) -> dict[str, float]:
    if coefficients is None:
        return law("send").defaults()
    found: FamilyCoefficients = coefficients.family("send")
    return dict(found.values)


def _held_bytes(group: KvGroup, tokens: Number) -> sp.Expr:
    kept = tokens if group.window_tokens is None else sp.Min(tokens, group.window_tokens)
    return group.bytes_per_token * kept + group.state_bytes_per_sequence
