"""What every operator of a step law is built from: the model, where it runs, how it is split, what it costs.

Activations are bf16 between operators, as in the engines. With attention data parallelism (dp > 1) a rank
holds its own tokens in attention; the feed-forward blocks see the tokens of the whole engine, which reach
them by an all-gather (ep = 1) or by an all-to-all dispatch (ep > 1), as in SGLang.  The two cases are told
apart by indicators that are 0 or 1, so that one expression serves every layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sympy as sp

from llmopt_calibration.coefficients import CoefficientSet
from llmopt_calibration.laws import Number, law, operator_expressions
from llmopt_calibration.step.law import Operator, Sees
from llmopt_calibration.step.symbols import StepSymbols, SymbolicLayout
from llmopt_problems.experts import ExpertUse
from llmopt_problems.hardware.spec import AcceleratorSpec
from llmopt_problems.models.spec import Component, KvPrecision, ModelSpec, WeightPrecision

ACTIVATION_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class StepContext:
    """The inputs of `step_law`, with the layout as expressions."""

    model: ModelSpec
    accelerator: AcceleratorSpec
    weights: Mapping[Component, WeightPrecision]
    kv: KvPrecision
    layout: SymbolicLayout
    coefficients: CoefficientSet
    imbalance: sp.Expr
    """Load of the busiest expert group over the mean."""
    symbols: StepSymbols
    verify: int = 1
    """Query tokens that a decode sequence has in the step: its drafts and one where the engine speculates."""
    experts: ExpertUse | None = None
    """How tokens use experts; None: as in the tables that the coefficients were fitted to."""
    expert_tokens: sp.Expr | None = None
    """Tokens of the step for which the imbalance of experts is taken; None: those that it has."""

    def local(self, heads: int) -> sp.Expr:
        """Heads of one rank: never less than one, then they are replicated."""
        return sp.Max(1, heads / self.layout.attention_tp)

    def operator(self, name: str, family: str, sees: Sees, count: Number, **shape: Number) -> Operator:
        """`count` equal operators of a law family, one after the other."""
        fitted = self.coefficients.family(family)
        cost = operator_expressions(law(family), shape, self.accelerator, fitted.values)
        if fitted.residual is not None:
            cost = cost._replace(seconds=cost.seconds * fitted.residual.factor(shape))
        if self.coefficients.margin != 1:
            cost = cost._replace(seconds=cost.seconds * self.coefficients.margin)
        seconds, flops, hbm_bytes, network_bytes = (count * part for part in cost)
        sizes = {size: sp.sympify(value, strict=True) for size, value in shape.items()}
        return Operator(name, family, seconds, flops, hbm_bytes, network_bytes, sees, fitted.basis, sizes)

    def gemm(self, name: str, component: Component, sees: Sees, count: Number, *sizes: Number) -> Operator:
        """`count` products of `sizes` tokens × input width × output width with weights of `component`."""
        tokens, inner, outer = sizes
        family = f"gemm_{self.weights[component]}"
        shape = {"tokens": tokens, "input_width": inner, "output_width": outer}
        return self.operator(name, family, sees, count, **shape)

    def elementwise(self, name: str, sees: Sees, count: Number, bytes_moved: Number) -> Operator:
        """`count` kernels that move `bytes_moved` each."""
        return self.operator(name, "elementwise", sees, count, bytes_moved=bytes_moved)

    def collective(
        self,
        name: str,
        family: str,
        sees: Sees,
        count: Number,
        message_bytes: Number,
        ranks: Number,
        stride: Number = 1,
        **more: Number,
    ) -> Operator:
        """`count` collectives over `ranks` accelerators, `stride` apart, which may span nodes.

        `more` are further sizes of the family.
        """
        domains = ranks * stride / sp.Integer(self.accelerator.scale_up_gpus)
        nodes = sp.Max(1, sp.Min(ranks, domains))
        shape = {"message_bytes": message_bytes, "ranks": ranks, "nodes": nodes, **more}
        return self.operator(name, family, sees, count, **shape)
