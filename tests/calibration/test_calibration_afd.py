"""Attention and experts apart: their parts are those of whole instances, their sum is the ping-pong."""

from __future__ import annotations

import pytest
import sympy as sp

from llmopt_calibration import coefficients
from llmopt_calibration.afd_memory import afd_memory_law
from llmopt_calibration.compiled import compile_step, step_seconds
from llmopt_calibration.memory import memory_law
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import StepLaw, layout_violations, step_law
from llmopt_calibration.step.afd import afd_step_law
from llmopt_calibration.step.symbols import AfdLayout, afd_layout
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout
from llmopt_problems.experts import ExpertUse

MODEL = catalog.model("DeepSeek-V3")
HARDWARE = catalog.accelerator("H200-SXM")
FITTED = coefficients.load("H200-SXM", "sglang")
PRECISION = Precision("fp8_block", "bf16")
CONTEXT = 3000
FP8_BYTES = 1 + 4 / 128
"""A value and its part of the float32 scale of 128."""


def afd(layout: AfdLayout, use: ExpertUse | None = None) -> StepLaw:
    return afd_step_law(MODEL, HARDWARE, PRECISION, layout, FITTED, experts=use)


def seconds(law: StepLaw, b: int, dp: int, values: dict[sp.Symbol, int] | None = None) -> float:
    s = law.symbols
    state = {s.b: b, s.K: b * CONTEXT, s.p: 0, s.A: 0, s.N: b * dp, s.h: b}
    numbers = {symbol: sp.Integer(value) for symbol, value in {**state, **(values or {})}.items()}
    return float(law.seconds(prefill=False).xreplace(numbers))


def parts(layout: Layout, b: int, tokens: int, *prefixes: str) -> float:
    """Seconds of a whole instance's operators of these names."""
    law = step_law(MODEL, HARDWARE, PRECISION, layout, FITTED)
    s = law.symbols
    state = {s.b: b, s.K: b * CONTEXT, s.p: 0, s.A: 0, s.N: tokens, s.h: b}
    chosen = [op for op in law.operators if op.name.startswith(prefixes) and op.sees != "prefill"]
    assert chosen
    return float(sum(op.seconds.subs(state) for op in chosen))


def test_one_micro_batch_takes_the_parts_of_whole_instances_and_the_links() -> None:
    """Attention as eight replicas of one accelerator run it, experts as sixteen groups of whole ones do."""
    b, dp, ffn = 48, 8, 16
    tokens, hidden, links = b * dp, MODEL.hidden, FITTED.family("send").values
    attention = parts(
        Layout(tp=8, dp=dp, ep=8), b, tokens, "mla.", "norms", "embedding", "lm_head", "sampling"
    )
    experts = parts(Layout(tp=ffn, dp=ffn, ep=ffn), b, tokens, "moe.router", "moe.experts", "shared_experts")
    copies = ffn * (1 - (1 - 1 / ffn) ** 8)
    network = HARDWARE.network.bytes_per_s * links["network_efficiency"]
    ways = 0.0
    for layers, sent in ((58, copies), (3, 1.0)):
        moved = tokens * sent * hidden * (FP8_BYTES + 2) / 8 / network  # back in bf16; over eight links
        ways += layers * (2 * (links["overhead_s"] + HARDWARE.network.latency_s) + moved)
    dense = parts(Layout(), 1, tokens // ffn, "dense_ffn.up", "dense_ffn.activation", "dense_ffn.down")
    found = seconds(afd(afd_layout(Layout(tp=8, dp=dp, ffn=ffn))), b, dp)
    assert found == pytest.approx(attention + experts + ways + dense, rel=1e-9)


def test_symbolic_layouts_are_numbers_put_in_later() -> None:
    symbolic = AfdLayout()
    law = afd(symbolic)
    for layout in (Layout(tp=8, dp=8, ffn=8), Layout(tp=16, dp=4, ffn=32, micro_batches=3)):
        entries = (symbolic.tp, symbolic.dp, symbolic.ffn, symbolic.micro_batches)
        numbers = (layout.tp, layout.dp, layout.ffn, layout.micro_batches)
        values = dict(zip(entries, numbers, strict=True))
        direct = seconds(afd(afd_layout(layout)), 64, layout.dp)
        assert seconds(law, 64, layout.dp, values) == pytest.approx(direct, rel=1e-9)


def test_the_compiled_law_is_the_law() -> None:
    law = afd(afd_layout(Layout(tp=8, dp=8, ffn=16, micro_batches=2)))
    step = compile_step(law, 128, 1024, 128)
    for b in (1, 7, 128):
        found = step_seconds(step.arrays(), step.scratch(), b, float(b * CONTEXT), 0, 0.0, 8 * b, b)
        assert found == pytest.approx(seconds(law, b, 8), rel=1e-9)


def test_micro_batches_hide_one_side_behind_the_other() -> None:
    """Large batches gain from two; small ones only read weights again."""
    small, large = (
        [seconds(afd(afd_layout(Layout(tp=8, dp=8, ffn=8, micro_batches=m))), b, 8) for m in (1, 2)]
        for b in (8, 128)
    )
    assert large[1] < large[0]
    assert small[1] > small[0]


def test_unequal_experts_slow_their_accelerators() -> None:
    layout = afd_layout(Layout(tp=8, dp=8, ffn=16))
    plain, popular = (seconds(afd(layout, ExpertUse("zipf", a)), 128, 8) for a in (0.0, 1.0))
    assert popular > plain


def test_weights_are_on_one_side_each() -> None:
    layout = Layout(tp=8, dp=8, ffn=16)
    law = afd_memory_law(MODEL, PRECISION, afd_layout(layout))
    whole = memory_law(MODEL, PRECISION, Layout(tp=8, dp=8, ep=8))
    assert law.attention.weights["attention"] == whole.weights["attention"]
    assert set(whole.weights) - set(law.attention.weights) == {
        "router",
        "routed_experts",
        "shared_experts",
        "dense_ffn",
    }
    assert law.attention.kv_bytes_per_token == whole.kv_bytes_per_token
    hbm = HARDWARE.hbm_bytes
    caps = dict.fromkeys((whole.symbols.batch_cap, law.attention.symbols.batch_cap), 64)
    caps |= {whole.symbols.chunk_tokens: 64, law.attention.symbols.chunk_tokens: 64}
    room = [float(each.kv_capacity_tokens(hbm, 0.9).subs(caps)) for each in (law.attention, whole)]
    assert room[0] > 2 * room[1]  # experts leave room for sequences
    experts = float(whole.weights["routed_experts"]) * 8 / 16
    assert experts < float(law.ffn_bytes.subs(caps)) < 2 * experts


def test_layouts_that_neither_side_can_have_are_named() -> None:
    assert layout_violations(MODEL, Layout(tp=8, dp=8, ffn=16)) == ()
    assert "24" not in "".join(layout_violations(MODEL, Layout(tp=24, dp=24, ffn=8)))
    assert "experts" in layout_violations(MODEL, Layout(tp=8, dp=8, ffn=24))[0]
    assert "attention_dp" in layout_violations(MODEL, Layout(tp=8, dp=3, ffn=8))[0]
    assert "no experts" in layout_violations(catalog.model("Llama-3.1-8B"), Layout(tp=8, ffn=8))[0]
