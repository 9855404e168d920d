"""The law of expert imbalance against drawn tokens, theory and brute force; rebalancing against its rules."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from llmopt_calibration import coefficients
from llmopt_calibration.expert_load import balance, expert_imbalance, group_shares
from llmopt_calibration.memory import memory_law
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import StepLaw, SymbolicLayout, layout_violations, step_law
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout
from llmopt_problems.experts import ExpertUse
from llmopt_problems.models.spec import MoeFfn

EXPERTS = 256
LAYERS = 3000
DEEPSEEK = catalog.model("DeepSeek-V3")
MIXTURE = next(group.ffn for group in DEEPSEEK.layers if isinstance(group.ffn, MoeFfn))


def law(use: ExpertUse, groups: int, choices: int) -> float:
    return float(balance(use, EXPERTS, groups).imbalance(sp.Integer(choices)))


def drawn(use: ExpertUse, groups: int, choices: int) -> float:
    """Tokens choose experts one by one; the busiest group over the mean, in the mean of many layers."""
    rng, shares = np.random.default_rng(1), np.asarray(use.shares(EXPERTS))
    loads = rng.multinomial(choices, shares, size=LAYERS).reshape(LAYERS, groups, -1).sum(axis=2)
    return float(loads.max(axis=1).mean() * groups / choices)


@pytest.mark.parametrize("groups", [2, 4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("exponent", [0.0, 0.3, 0.6, 1.0])
def test_the_law_is_within_five_percent_of_drawn_tokens(groups: int, exponent: float) -> None:
    use = ExpertUse("zipf", exponent)
    for choices in (8, 24, 64, 200, 512, 2048, 16384):
        assert law(use, groups, choices) == pytest.approx(drawn(use, groups, choices), rel=0.05)


def test_one_group_is_never_out_of_balance() -> None:
    assert all(law(ExpertUse("zipf", 1.0), 1, choices) == 1 for choices in (1, 10, 1000))


def test_two_equal_groups_are_a_coin_thrown_so_often() -> None:
    """E|X − M/2| of a binomial is M / 2^M · C(M − 1, M/2) for even M (de Moivre)."""
    for choices in (8, 64, 256):
        deviation = choices / 2**choices * math.comb(choices - 1, choices // 2)
        assert law(ExpertUse(), 2, choices) == pytest.approx(1 + 2 * deviation / choices, rel=0.01)


def test_few_choices_by_enumeration() -> None:
    """Eight choices among four groups: all 65,536 outcomes."""
    outcomes = np.array(list(product(range(4), repeat=8)))
    largest = np.max([(outcomes == group).sum(axis=1) for group in range(4)], axis=0).mean()
    assert law(ExpertUse(), 4, 8) == pytest.approx(largest / 2, rel=0.05)


def test_large_steps_have_the_long_run_imbalance() -> None:
    use = ExpertUse("measured", counts=tuple(float(1 + n % 7 + (n < 8) * 30) for n in range(EXPERTS)))
    longrun = 8 * max(np.asarray(use.shares(EXPERTS)).reshape(8, -1).sum(axis=1))
    assert law(use, 8, 10**9) == pytest.approx(longrun, rel=1e-4)


@given(st.lists(st.floats(0.01, 100), min_size=32, max_size=32), st.sampled_from([2, 4, 8]))
def test_rebalancing_keeps_all_load_and_helps(counts: list[float], groups: int) -> None:
    """Shares add up to 1; the heaviest group of places by popularity is no heavier than Graham's bound.

    The lightest group with room takes each copy, so the heaviest has at most the mean and one copy more where
    none is full (Graham 1969); copies by popularity never make the heaviest copy heavier.
    """
    plain = group_shares(ExpertUse("measured", counts=tuple(counts)), 32, groups)
    placed = group_shares(ExpertUse("measured", counts=tuple(counts), rebalanced=True), 32, groups)
    copied = group_shares(ExpertUse("measured", 0.0, tuple(counts), True, 32), 32, groups)
    for shares in (plain, placed, copied):
        assert shares.sum() == pytest.approx(1)
        assert len(shares) == groups
    heaviest = max(counts) / sum(counts)
    assert copied.max() <= 1 / groups + heaviest + 1e-9
    assert np.ptp(copied) <= np.ptp(placed) + heaviest + 1e-9


def test_rebalancing_lowers_the_imbalance_of_popular_experts() -> None:
    """Zipf over 256 experts on 32 groups: cut in order, placed, and with 32 copies."""
    plain, placed, copied = (
        float(32 * group_shares(use, EXPERTS, 32).max())
        for use in (
            ExpertUse("zipf", 0.8),
            ExpertUse("zipf", 0.8, rebalanced=True),
            ExpertUse("zipf", 0.8, (), True, 32),
        )
    )
    heaviest = max(ExpertUse("zipf", 0.8).shares(EXPERTS))
    assert plain > placed >= 32 * heaviest > 2  # one expert alone is more than a group's part
    assert copied < 1.02


def step(use: ExpertUse | None, layout: Layout | SymbolicLayout) -> StepLaw:
    hardware = catalog.accelerator("H200-SXM")
    fitted = coefficients.load("H200-SXM", "sglang")
    return step_law(DEEPSEEK, hardware, Precision("fp8_block", "bf16"), layout, fitted, experts=use)


def seconds(made: StepLaw, layout: SymbolicLayout | None = None, ep: int = 1) -> float:
    s = made.symbols
    state = {s.b: 64, s.K: 64 * 4000, s.p: 0, s.A: 0, s.N: 64 * 8, s.h: 64}
    degrees = {} if layout is None else dict(zip(layout.symbols(), (8, 1, ep, 8), strict=True))
    return float(made.seconds(prefill=False).xreplace(degrees | state).doit())


def test_symbolic_groups_are_numbers_put_in_later() -> None:
    use, symbolic = ExpertUse("zipf", 0.5), SymbolicLayout()
    made = step(use, symbolic)
    for ep in (1, 8):
        direct = seconds(step(use, Layout(tp=8, ep=ep, dp=8)))
        assert seconds(made, symbolic, ep) == pytest.approx(direct, rel=1e-9)


def test_steps_cost_more_the_less_experts_are_balanced() -> None:
    layout = Layout(tp=8, ep=8, dp=8)
    uses = [ExpertUse("zipf", 0.5, rebalanced=True), ExpertUse("zipf", 0.5), ExpertUse("zipf", 1.0)]
    times = [seconds(step(use, layout)) for use in uses]
    assert seconds(step(ExpertUse(), layout)) <= times[0] < times[1]
    one_group = Layout(tp=8, ep=1, dp=8)
    assert times[1] < times[2]
    assert seconds(step(uses[2], one_group)) == seconds(step(None, one_group))


def test_the_busiest_group_gets_what_the_law_says() -> None:
    """Whatever skew the tables of the experts' law had, its rows become the mean load times the law."""
    operators = {op.name: op for op in step(ExpertUse("zipf", 0.5), Layout(tp=8, ep=8)).operators}
    shape, values = operators["moe.experts"].shape, coefficients.load("H200-SXM", "sglang")
    fitted = values.family(operators["moe.experts"].family).values
    local, experts = shape["local_experts"], shape["experts"]
    skew = 1 + fitted["skew"] * (1 - local / experts) / local ** fitted["skew_exponent"]
    tokens = step(None, Layout(tp=8)).symbols.N
    wanted = expert_imbalance(ExpertUse("zipf", 0.5), MIXTURE, sp.Integer(512), sp.Integer(8))
    (state,) = shape["imbalance"].free_symbols
    assert state.name == tokens.name
    assert float(shape["imbalance"].subs(state, 512) * skew) == pytest.approx(float(wanted))


def test_copies_take_memory_and_divide_over_groups() -> None:
    layout, precision = Layout(tp=8, ep=8, dp=8), Precision("fp8_block", "bf16")
    plain = memory_law(DEEPSEEK, precision, layout).weights["routed_experts"]
    copied = memory_law(DEEPSEEK, precision, layout, redundant=32).weights["routed_experts"]
    assert float(copied / plain) == pytest.approx(288 / 256)
    assert layout_violations(DEEPSEEK, layout, redundant=32) == ()
    assert "256 experts and 3 copies" in layout_violations(DEEPSEEK, layout, redundant=3)[0]
