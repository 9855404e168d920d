"""The makespan of micro-batches between attention and experts, against an explicit event simulation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import simpy
import sympy as sp

from llmopt_calibration.step.ping_pong import Round, ping_pong_s


def simulated_s(rounds: Sequence[Round], micro_batches: int) -> float:
    """Micro-batches as processes; two pools and two directions of links as FIFO resources of capacity one."""
    env = simpy.Environment()
    stations = [simpy.Resource(env) for _ in range(4)]

    def micro_batch() -> Iterator[simpy.Event]:
        for each in rounds:
            times = each.attention_s, each.send_s, each.experts_s, each.return_s
            for _ in range(each.count):
                for station, seconds in zip(stations, times, strict=True):
                    with station.request() as turn:
                        yield turn
                        yield env.timeout(float(seconds))

    for _ in range(micro_batches):
        env.process(micro_batch())
    env.run()
    return float(env.now)


def layers(count: int, times: Sequence[float]) -> Round:
    return Round(count, *(sp.Float(seconds) for seconds in times))


def law_s(rounds: Sequence[Round], micro_batches: int) -> float:
    return float(ping_pong_s(rounds, sp.Integer(micro_batches)))


@pytest.mark.parametrize("case", range(150))
def test_equal_layers_take_what_the_events_take(case: int) -> None:
    """Any station may be the slowest, any number of micro-batches too few or enough to hide the links."""
    rng = np.random.default_rng(case)
    times = rng.exponential(1.0, 4) * rng.choice([0.05, 1.0, 3.0], 4)
    rounds, count = [layers(int(rng.integers(1, 30)), times)], int(rng.integers(1, 8))
    assert law_s(rounds, count) == pytest.approx(simulated_s(rounds, count), rel=1e-9)


def test_enough_micro_batches_hide_the_links() -> None:
    """MegaScale-Infer: with m >= 2 (1 + c / t) the slower pool is always busy, so 60 layers take m L t and an
    end; one micro-batch more only adds its own work.
    """
    times = (1.0, 0.4, 0.9, 0.4)
    needed = 2 * (1 + 0.4 / 1.0)
    for count in (3, 4, 5):
        assert count >= needed
        assert law_s([layers(60, times)], count) == pytest.approx(1.0 * (60 * count - 1) + 2.7)
    assert law_s([layers(60, times)], 2) > 60 * 2 * 1.0 + 2.7


def test_one_micro_batch_waits_for_everything() -> None:
    assert law_s([layers(7, (1, 2, 3, 4))], 1) == pytest.approx(70)


def test_layers_of_two_kinds_are_close_to_the_events() -> None:
    """Three dense layers before fifty-eight with experts, as DeepSeek-V3 has them: within a percent."""
    for case in range(30):
        rng = np.random.default_rng(case)
        dense, experts = rng.uniform(0.2, 2.0, 4), rng.uniform(0.2, 2.0, 4)
        rounds, count = [layers(3, dense), layers(58, experts)], int(rng.integers(1, 5))
        assert law_s(rounds, count) == pytest.approx(simulated_s(rounds, count), rel=0.015)
