"""Layer budgets: they sum to the step law, respect the hardware, and count what a hand count gives."""

from __future__ import annotations

import pytest

from llmopt_calibration import coefficients
from llmopt_calibration.budget import StepState, bottleneck, step_budget
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import step_context, step_law
from llmopt_calibration.step.context import StepContext
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout

STATES = (StepState(32, 4000), StepState(0, 0, 2048), StepState(8, 1000, 512), StepState(1, 1))
CASES = (
    ("DeepSeek-R1", Layout(8, 1, 8, 8)),
    ("DeepSeek-R1", Layout(16, 2, 16, 1)),
    ("Llama-3.1-8B", Layout(2)),
    ("gpt-oss-120b", Layout(4, 1, 4, 1)),
    ("Qwen3.5-397B-A17B", Layout(8, 1, 8, 1)),
)


def context_of(model: str, layout: Layout) -> StepContext:
    spec, accelerator = catalog.model(model), catalog.accelerator("H200-SXM")
    fitted = coefficients.load(accelerator.name, "sglang")
    return step_context(spec, accelerator, Precision(spec.native_weights, "bf16"), layout, fitted)


@pytest.mark.parametrize(("model", "layout"), CASES)
def test_budgets_sum_to_the_step_law(model: str, layout: Layout) -> None:
    context = context_of(model, layout)
    fitted = context.coefficients
    precision = Precision(context.model.native_weights, "bf16")
    law = step_law(context.model, context.accelerator, precision, layout, fitted)
    for state in STATES:
        budget = step_budget(context, state)
        numbers = state.numbers(law.symbols, layout.dp)
        parts = {"decode": state.batch > 0, "prefill": state.prefill_tokens > 0}
        for quantity in ("seconds", "flops", "hbm_bytes", "network_bytes"):
            whole = float(getattr(law, quantity)(**parts).subs(numbers))
            assert sum(each.count * getattr(each, quantity) for each in budget) == pytest.approx(
                whole, rel=1e-9
            )


@pytest.mark.parametrize(("model", "layout"), CASES)
def test_no_kernel_beats_the_hardware(model: str, layout: Layout) -> None:
    for state in STATES:
        for each in step_budget(context_of(model, layout), state):
            assert each.seconds >= max(each.compute_s, each.memory_s) * (1 - 1e-9)
            assert getattr(each, f"{each.dominates}_s") == max(
                each.compute_s, each.memory_s, each.communication_s
            )


def test_a_dense_decode_counts_two_flop_a_weight() -> None:
    context = context_of("Llama-3.1-8B", Layout(1))
    budget = step_budget(context, StepState(16, 1000))
    products = sum(each.count * each.flops for each in budget if each.family == "gemm_bf16")
    # 32 layers of (q, k, v, o: 2 x 4096² + 2 x 4096 x 1024; gate, up, down: 3 x 4096 x 14336), and the head
    weights = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336) + 4096 * 128256
    assert products == pytest.approx(2 * 16 * weights, rel=1e-12)


def test_the_layers_are_named_and_the_slowest_found() -> None:
    budget = step_budget(context_of("DeepSeek-R1", Layout(8, 1, 8, 8)), StepState(32, 4000))
    assert list(dict.fromkeys(each.layers for each in budget)) == ["layers 1-3", "layers 4-61", "ends"]
    assert {each.count for each in budget} == {3, 58, 1}
    name, seconds = bottleneck(budget)
    one = [
        sum(each.seconds for each in budget if each.layers == layer)
        for layer in ("layers 1-3", "layers 4-61")
    ]
    assert (name, seconds) == ("layers 4-61", pytest.approx(max(one)))
