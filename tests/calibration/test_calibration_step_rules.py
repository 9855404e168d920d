"""Layout rules against plain arithmetic on every small layout."""

from __future__ import annotations

from itertools import product

import pytest

from llmopt_calibration.step import SymbolicLayout, layout_rules, layout_violations
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout

LAYOUTS = [
    Layout(*entries) for entries in product((1, 2, 3, 4, 8, 16, 64), (1, 2, 80), (1, 2, 8, 16), (1, 2, 8, 16))
]


def _dense_is_valid(layout: Layout, query_heads: int, kv_heads: int, width: int, layers: int) -> bool:
    heads = query_heads % layout.tp == 0 and (kv_heads % layout.tp == 0 or layout.tp % kv_heads == 0)
    return heads and width % layout.tp == 0 and layout.pp <= layers and layout.ep == layout.dp == 1


def _deepseek_is_valid(layout: Layout) -> bool:
    """128 heads, 3 dense layers of width 18432, 256 experts of width 2048, 61 layers."""
    if layout.tp % layout.dp or layout.tp % layout.ep or layout.pp > 61:
        return False
    both = layout.dp > 1 and layout.ep > 1
    divides = 18432 % layout.tp == 0 and 256 % layout.ep == 0 and 2048 % layout.moe_tp == 0
    return divides and 128 % layout.attention_tp == 0 and (not both or layout.ep == layout.tp)


def test_llama_layouts() -> None:
    model = catalog.model("Llama-3.3-70B")
    found = [layout_violations(model, layout) == () for layout in LAYOUTS]
    assert found == [_dense_is_valid(layout, 64, 8, 28672, 80) for layout in LAYOUTS]
    assert 0 < sum(found) < len(found)


def test_deepseek_layouts() -> None:
    model = catalog.model("DeepSeek-R1")
    found = [layout_violations(model, layout) == () for layout in LAYOUTS]
    assert found == [_deepseek_is_valid(layout) for layout in LAYOUTS]
    assert 0 < sum(found) < len(found)


@pytest.mark.parametrize(
    ("name", "layout", "words"),
    [
        ("Llama-3.3-70B", Layout(8, ep=2), "no experts"),
        ("Llama-3.3-70B", Layout(8, dp=2), "attention_dp is for"),
        ("Llama-3.3-70B", Layout(8, pp=81), "exceeds the 80 layers"),
        ("Llama-3.3-70B", Layout(6), "64 heads"),
        ("DeepSeek-R1", Layout(8, dp=3), "does not divide tp"),
        ("DeepSeek-R1", Layout(16, ep=4, dp=4), "needs ep = tp"),
        ("Mixtral-8x7B", Layout(16, ep=16), "8 experts"),
    ],
)
def test_a_broken_rule_says_what_to_do(name: str, layout: Layout, words: str) -> None:
    assert any(words in message for message in layout_violations(catalog.model(name), layout))


def test_fp8_blocks_are_not_cut() -> None:
    """Qwen3-235B has experts of width 1536: 192 at TP 8 cuts blocks of 128, unless by ep."""
    model = catalog.model("Qwen3-235B-A22B")
    assert layout_violations(model, Layout(8)) == ()
    assert "blocks of 128" in " ".join(layout_violations(model, Layout(8), "fp8_block"))
    assert layout_violations(model, Layout(4), "fp8_block") == ()
    assert layout_violations(model, Layout(8, ep=2), "fp8_block") == ()


def test_symbolic_rules_give_the_numeric_answers() -> None:
    model, split = catalog.model("DeepSeek-R1"), SymbolicLayout()
    rules = layout_rules(model, split, "fp8_block")
    for layout in LAYOUTS[::7]:
        values = dict(zip(split.symbols(), (layout.tp, layout.pp, layout.ep, layout.dp), strict=True))
        broken = {rule.message for rule in rules if rule.excess.subs(values) > 0}
        assert broken == set(layout_violations(model, layout, "fp8_block"))
