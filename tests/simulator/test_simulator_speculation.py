"""Speculative decoding, against closed forms, measured acceptance lengths and plain decoding."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_problems.speculation import Speculation, equal_acceptance, measured_acceptance
from llmopt_simulator import Run, ServiceModel, frozen_parameters, metrics, simulate
from llmopt_simulator.errors import SimulationError
from llmopt_simulator.kernel import state as k

MEASURED = Path(__file__).parents[3] / "shared" / "data" / "spec_acceptance.csv"
POOL = PoolDeployment("serve", "x", Layout(), 1, 1 << 10, 64)
STEP_S = 0.1


def serve(make, speculation: Speculation | None, outputs, arrivals=None, pool=POOL, drafts=None) -> Run:
    """Prompts of ten tokens; every pass of the model takes a tenth of a second."""
    pool = replace(pool, speculation=speculation)
    service = replace(make.service(pool, constant=STEP_S), draft=drafts)
    arrivals = np.zeros(len(outputs)) if arrivals is None else arrivals
    return simulate(
        make.workload(arrivals, 10, outputs), Deployment("aggregated", (pool,)), ServiceModel((service,)), 7
    )


def tokens_per_step(run: Run) -> tuple[float, float]:
    """Mean over all steps of all sequences, and its standard error from its largest variance."""
    totals = run.state.totals.sum(axis=0)
    most = run.state.ranks["verify"][0] - 1
    return totals[k.DECODE_TOKENS] / totals[k.DECODED], most / 2 / np.sqrt(totals[k.DECODED])


@pytest.mark.parametrize(("drafts", "chance"), [(1, 0.8), (3, 0.6), (5, 0.9), (4, 0.0), (2, 1.0)])
def test_tokens_of_a_step_are_the_sum_of_powers(make, drafts: int, chance: float) -> None:
    """Mean = Σ aⁱ, i = 0 … k, and no less: answers are so long that their ends do not matter."""
    run = serve(make, Speculation((chance,) * drafts), np.full(40, 6000))
    mean, error = tokens_per_step(run)
    assert abs(mean - sum(chance**i for i in range(drafts + 1))) <= 4.0 * error + 1e-3


def test_every_position_has_its_own_acceptance(make) -> None:
    """How often a step makes n tokens: P(n > i) = a_1 … a_i, as the histogram of latencies shows."""
    acceptance = (0.9, 0.5, 0.2)
    run = serve(make, Speculation(acceptance), np.full(40, 6000))
    edges = (np.arange(k.ITL_BINS) + k.ITL_FIRST_BIN << k.ITL_BIN_BITS).view(np.float64)
    steps = []
    for n in range(1, 5):
        near = np.abs(edges * n / STEP_S - 1.0) < 0.05
        steps.append(run.state.itl[near].sum() / n)
    survival = np.cumsum(steps[::-1])[::-1] / np.sum(steps)
    np.testing.assert_allclose(survival, [1.0, *np.cumprod(acceptance)], atol=0.01)


def test_frozen_parameter_tells_the_tokens_of_a_step(make) -> None:
    run = serve(make, Speculation((0.7, 0.7)), np.full(300, 400), np.arange(300) * 2.0)
    frozen = frozen_parameters(run, metrics(run))
    assert frozen["accepted_tokens"] == pytest.approx(1 + 0.7 + 0.49, rel=0.01)
    plain = serve(make, None, np.full(30, 40))
    assert frozen_parameters(plain, metrics(plain))["accepted_tokens"] == 1.0


@pytest.mark.skipif(not MEASURED.exists(), reason="the measured acceptance lengths are not here")
def test_measured_acceptance_lengths_come_out(make) -> None:
    """SPEED-Bench: each model with 1 to 8 drafts; survivals are the differences, their sum the length."""
    with MEASURED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["num_speculative_tokens"]]
    series: dict[tuple[str, ...], dict[int, float]] = {}
    for row in rows:
        key = (row["model"], row["method"], row["mode"], row["dataset"])
        series.setdefault(key, {})[int(row["num_speculative_tokens"])] = float(row["acceptance_length"])
    checked = 0
    for lengths in series.values():
        if sorted(lengths) != list(range(1, len(lengths) + 1)) or len(lengths) < 4:
            continue
        measured = [lengths[i] for i in sorted(lengths)]
        drawn = equal_acceptance(len(measured), measured[-1])
        assert drawn.mean_tokens == pytest.approx(measured[-1], abs=1e-9)
        run = serve(make, drawn, np.full(20, 3000))
        mean, error = tokens_per_step(run)
        assert abs(mean - measured[-1]) < 4.0 * error
        checked += 1
    assert checked >= 10


@pytest.mark.skipif(not MEASURED.exists(), reason="the measured acceptance lengths are not here")
def test_acceptance_by_position_from_measured_lengths() -> None:
    lengths = [1.84, 2.51, 3.01, 3.36]  # deepseek-v4-pro-0813, dspark, thinking on: its first rows
    with MEASURED.open() as file:
        rows = list(csv.DictReader(file))[:4]
    assert [float(row["acceptance_length"]) for row in rows] == lengths
    for count in range(1, 5):
        assert measured_acceptance(lengths[:count]).mean_tokens == pytest.approx(lengths[count - 1])
    assert measured_acceptance(lengths).survival == pytest.approx((0.84, 0.67, 0.50, 0.35))


def test_nothing_accepted_is_plain_decoding(make) -> None:
    outputs, arrivals = np.arange(1, 60), np.linspace(0, 30, 59)
    drafted = serve(make, Speculation((0.0, 0.0)), outputs, arrivals)
    plain = serve(make, None, outputs, arrivals)
    np.testing.assert_allclose(drafted.column("finish_s"), plain.column("finish_s"))
    assert drafted.state.itl.tolist() == plain.state.itl.tolist()


def test_everything_accepted_takes_a_step_for_each_group(make) -> None:
    """After the first token, ceil((n - 1) / 3) steps of three tokens, the last one cut at the end."""
    outputs = np.arange(1, 20)
    run = serve(make, Speculation((1.0, 1.0)), outputs)
    np.testing.assert_allclose(run.column("finish_s"), STEP_S * (1 + -(-(outputs - 1) // 3)))


def test_a_sequence_draws_the_same_in_any_company(make) -> None:
    """The steps of a request depend on its own stream: alone or in a batch, short of pages or not."""
    outputs = np.full(30, 50)
    speculation = Speculation((0.8, 0.6, 0.4))
    together = serve(make, speculation, outputs)
    alone = serve(make, speculation, outputs, np.arange(30) * 100.0)
    steps = [
        np.round((run.column("finish_s") - run.column("first_token_s")) / STEP_S) for run in (together, alone)
    ]
    np.testing.assert_array_equal(*steps)
    assert len(set(steps[0].tolist())) > 3


def test_a_draft_costs_its_passes(make) -> None:
    """A prompt of 10 and 2 drafts: the draft sees the prompt too, then a pass a drafted token."""
    draft = make.compiled(POOL, 0.01)
    run = serve(make, Speculation((1.0, 1.0)), [1 + 3 * 4], drafts=draft)
    assert run.column("first_token_s")[0] == pytest.approx(STEP_S + 0.01)
    assert run.column("finish_s")[0] == pytest.approx(STEP_S + 0.01 + 4 * (STEP_S + 2 * 0.01))


def test_products_see_every_draft_and_attention_the_context_once(make) -> None:
    """B = 1, k = 3: four tokens in the products and logits; keys of the context and of three drafts."""
    pool = replace(POOL, speculation=Speculation((0.0,) * 3))
    service = make.service(pool, n=1.0, h=0.1, K=1e-3)
    workload = make.workload([0.0], 10, 2)
    run = simulate(workload, Deployment("aggregated", (pool,)), ServiceModel((service,)))
    step_s = 4 * 1.0 + 4 * 0.1 + (11 + 3) * 1e-3
    assert run.column("finish_s")[0] - run.column("first_token_s")[0] == pytest.approx(step_s)


@pytest.mark.parametrize(
    ("pool", "complaint"),
    [
        (replace(POOL, speculation=Speculation(())), "without draft tokens"),
        (replace(POOL, speculation=Speculation((0.5, 1.5))), "give probabilities"),
        (
            replace(
                POOL,
                speculation=Speculation((0.5,)),
                scheduling=Scheduling(growth=KvGrowth(spare_page=True)),
            ),
            "spare_page",
        ),
    ],
)
def test_speculation_that_cannot_be(make, pool: PoolDeployment, complaint: str) -> None:
    with pytest.raises(SimulationError, match=complaint):
        serve(make, pool.speculation, [5], pool=pool)


def test_a_draft_without_speculation_is_refused(make) -> None:
    with pytest.raises(SimulationError, match="nothing speculates"):
        serve(make, None, [5], drafts=make.compiled(POOL, 0.01))


def test_lengths_that_no_acceptance_gives() -> None:
    with pytest.raises(ValueError, match="from 1 to 4"):
        equal_acceptance(3, 4.5)
    with pytest.raises(ValueError, match="does not grow"):
        measured_acceptance([1.5, 2.2])
