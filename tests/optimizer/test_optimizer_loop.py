"""The loop from problem to verified front: what it may recommend, when it must stop, what it says instead."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from optimizer_loop_cases import CLOSED_LOOP, VARIED_LENGTHS, problem_of

from llmopt_optimizer.loop import solve_problem
from llmopt_optimizer.loop.solve import SolveInterrupted
from llmopt_optimizer.loop.workers import place, workers_at
from llmopt_optimizer.result import Point, Progress, Result, Status, Verdict
from llmopt_problems import Problem

BOTH_MODES = {"search": {"modes": ["aggregated", "disaggregated"], "chunk_tokens": {"choices": [512, 2048]}}}
TIGHT = {
    "traffic": {"arrivals": {"process": "poisson", "rate": "16 req/s"}, **VARIED_LENGTHS},
    "slo": [{"metric": "ttft", "statistic": "p95", "at_most": "0.1 s"}],
}
IMPOSSIBLE_TTFT = {"slo": [{"metric": "ttft", "statistic": "p95", "at_most": "5 ms"}]}
OVERLOAD = {"traffic": {"arrivals": {"process": "poisson", "rate": "400 req/s"}}}


SLOW_MACHINE_S = 10.0
"""What a machine shared with other tests may add to a wait of two seconds."""

SOLVED = ["both", "tight", pytest.param("closed", marks=pytest.mark.slow)]


@cache
def solved(name: str) -> Result:
    """One of the problems that several tests read, solved once."""
    layers: Mapping[str, Mapping[str, Any]] = {
        "both": BOTH_MODES,
        "tight": TIGHT,
        "closed": {"traffic": {"arrivals": CLOSED_LOOP}, **BOTH_MODES},
        "ttft": IMPOSSIBLE_TTFT,
        "overload": OVERLOAD,
    }
    return solve_problem(problem_of(layers[name]))


def costs(result: Result, point: Point) -> tuple[float, ...]:
    return tuple(
        value if sense == "minimize" else -value
        for sense, value in zip(
            result.senses, (point.simulated[metric].value for metric in result.objectives), strict=True
        )
    )


def kept(problem_levels: Mapping[str, float], point: Point) -> bool:
    """Whether the whole confidence interval of every level lies below its bound."""
    return all(point.simulated[key].high <= bound for key, bound in problem_levels.items())


@pytest.mark.parametrize("name", SOLVED)
def test_only_verified_deployments_are_recommended(name: str) -> None:
    result = solved(name)
    levels = {"ttft_p95_s": 0.1 if name == "tight" else 1.0}
    assert result.status is Status.PROVEN
    assert result.front
    for point in result.front:
        assert point.verdict is Verdict.VERIFIED
        assert kept(levels, point)
        assert not point.violated
    for point in result.cut:
        assert point.verdict is not Verdict.VERIFIED
        assert not kept(levels, point)
        assert point.violated
    assert not {point.deployment for point in result.front} & {point.deployment for point in result.cut}
    assert all(check.passed for check in result.checks)


@pytest.mark.parametrize("name", SOLVED)
def test_fronts_are_sorted_and_mutually_nondominated(name: str) -> None:
    result = solved(name)
    vectors = [costs(result, point) for point in result.front]
    assert vectors == sorted(vectors)
    for own in vectors:
        assert not any(
            other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in vectors
        )
    assert len(set(vectors)) == len(vectors)


def test_gap_of_a_proof_is_zero() -> None:
    assert solved("both").gap == 0
    for point in solved("both").front:
        assert point.gap == 0
        assert point.bound == point.simulated["cost_per_million_output_tokens"].value


def fingerprint(result: Result) -> tuple[object, ...]:
    """Everything that the problem decides: all but wall-clock times."""
    rounds = [(r.number, r.proposed, r.simulated, r.verified, r.largest_error) for r in result.rounds]
    return (result.status, result.message, result.front, result.cut, result.frozen, rounds, result.checks)


@pytest.mark.parametrize("where", ["threads:1", "processes:2"])
def test_same_problem_same_answer(where: str) -> None:
    """Whoever simulates, and however many."""
    with workers_at(place(where)) as workers:
        found = solve_problem(problem_of(TIGHT), workers=workers)
    assert repr(fingerprint(found)) == repr(fingerprint(solved("tight")))


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which a shell switches off in what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_interrupts")
def test_cached_simulations_change_nothing_and_are_not_repeated(tmp_path: Path) -> None:
    """An interrupted solve goes on from its cache and ends as an uninterrupted one; nothing is run twice."""
    problem, caches = problem_of(TIGHT), (tmp_path / "simulations",)

    def interrupting(progress: Progress) -> None:
        if progress.stage.startswith("round 2"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SolveInterrupted) as caught:
        solve_problem(problem, progress=interrupting, caches=caches)
    assert caught.value.result.status is not Status.PROVEN
    assert all(point.verdict is Verdict.VERIFIED for point in caught.value.result.front)
    known = len(list(caches[0].rglob("*.json")))
    assert known > 0
    resumed = solve_problem(problem, caches=caches)
    assert repr(fingerprint(resumed)) == repr(fingerprint(solved("tight")))
    stored = sorted(caches[0].rglob("*.json"))
    assert len(stored) > known
    stored[0].write_text("damaged")
    stored[1].unlink()
    repaired = solve_problem(problem, caches=caches)
    assert repr(fingerprint(repaired)) == repr(fingerprint(resumed))
    assert sorted(caches[0].rglob("*.json")) == stored


def test_round_limit_gives_a_feasible_answer() -> None:
    """One round leaves deployments open: the answer is verified, and says how far it may be off."""
    result = solve_problem(problem_of(TIGHT, {"verification": {"max_rounds": 1}}))
    assert result.status is Status.FEASIBLE
    assert "max_rounds" in result.message
    assert len(result.rounds) == 1
    assert result.gap > 0.01
    assert all(point.verdict is Verdict.VERIFIED for point in result.front)


def test_time_limit_ends_a_solve_wherever_it_is() -> None:
    """Building the expressions alone takes longer: no answer, no claim, and no waiting."""
    started = time.monotonic()
    result = solve_problem(problem_of(BOTH_MODES, {"limits": {"time": "0.01 s"}}))
    assert time.monotonic() - started < 0.01 + 2 + SLOW_MACHINE_S
    assert result.status is Status.FAILED
    assert "limits.time" in result.message
    assert not result.front


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4.0, 8.0, 16.0])
def test_time_limit_keeps_the_incumbent_and_its_gap(seconds: float) -> None:
    problem = problem_of(BOTH_MODES, {"limits": {"time": f"{seconds} s"}, "verification": {"requests": 9000}})
    started = time.monotonic()
    result = solve_problem(problem)
    assert time.monotonic() - started < seconds + 2 + SLOW_MACHINE_S
    if result.status is Status.FAILED:
        assert "limits.time" in result.message
    if result.status is Status.FEASIBLE:
        assert "time limit" in result.message
        assert result.gap > 0
    assert all(point.verdict is Verdict.VERIFIED for point in result.front)


def relaxed(problem_levels: list[dict[str, Any]], key: str, value: float) -> list[dict[str, Any]]:
    metric, statistic = key.split("_")[:2]
    return [
        {**level, "at_most": f"{value:.6g} s"}
        if (level["metric"], level["statistic"]) == (metric, statistic)
        else level
        for level in problem_levels
    ]


def test_impossible_level_is_named_with_what_would_do() -> None:
    """The conflict holds the level, and the problem with the relaxed level has a verified answer."""
    result = solved("ttft")
    assert result.status is Status.INFEASIBLE
    assert not result.front
    assert any("TTFT" in conflict for conflict in result.conflicts)
    (relaxation,) = [r for r in result.relaxations if "TTFT" in r.limit]
    assert relaxation.asked == pytest.approx(0.005)
    assert relaxation.needed is not None
    assert relaxation.needed > relaxation.asked
    levels = relaxed(IMPOSSIBLE_TTFT["slo"], "ttft_p95_s", relaxation.needed * 1.001)
    assert solve_problem(problem_of({"slo": levels})).front


def largest_rate(result: Result) -> float:
    return float(result.message.split("is about ")[1].split(" requests/s")[0])


def rated(rate: float) -> Problem:
    return problem_of({"traffic": {"arrivals": {"process": "poisson", "rate": f"{rate:.4f} req/s"}}})


def test_overload_says_the_largest_rate() -> None:
    """At 95% of the largest rate the problem has a verified answer; the asked one has none."""
    result = solved("overload")
    assert result.status is Status.INFEASIBLE
    rate = largest_rate(result)
    assert 8 < rate < 400
    assert solve_problem(rated(0.95 * rate)).front


def test_progress_never_goes_back() -> None:
    told: list[Progress] = []
    solve_problem(problem_of(), progress=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0
    assert fractions[-1] == 1
