"""Solvers that lie: whatever a back end says, no wrong answer leaves the core as a proof.

Each mutant wraps HiGHS and spoils its answer in one way. It is injected under random programs whose true
front the naive judge knows, and every claim of an optimum, of infeasibility or of a complete front is
compared.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from typing import Any

import optimizer_core_naive as naive
import pytest
from optimizer_core_random import Case, random_case

from llmopt_optimizer.core import selection
from llmopt_optimizer.core.pareto import FrontMethod, pareto
from llmopt_optimizer.core.preparation import compile_program
from llmopt_optimizer.core.solvers.highs import HighsBackEnd
from llmopt_optimizer.core.solvers.outcome import Outcome, SolveStatus
from llmopt_optimizer.core.solvers.watchdog import WatchedBackEnd
from llmopt_optimizer.core.solving import COLUMNS, solve

Spoil = Callable[["Mutant", Outcome], Outcome]
FOUND = (SolveStatus.OPTIMAL, SolveStatus.FEASIBLE)


class Mutant:
    """HiGHS, with its answers spoiled."""

    name = "mutant"
    linear_only = True

    def __init__(self, model: Any, spoil: Spoil) -> None:
        self.model, self.spoil = model, spoil
        self.inner = HighsBackEnd(model)
        self.remembered: list[float | None] | None = None
        self.last: Outcome | None = None

    def solve(self, seconds: float | None) -> Outcome:
        return self.spoil(self, self.inner.solve(seconds))

    def update_bounds(self, variables: list[Any]) -> None:
        self.inner.update_bounds(variables)

    def add(self, constraint: Any) -> None:
        self.inner.add(constraint)

    def remove(self, constraint: Any) -> None:
        self.inner.remove(constraint)

    def rows(self) -> list[list[Any]]:
        """The binaries of every pool of every system."""
        names = [name for name in self.model.component_map() if name.startswith("row_")]
        return [list(self.model.component(name).values()) for name in names]


def off_by_one(mutant: Mutant, outcome: Outcome) -> Outcome:
    """The neighbouring row of the first pool that has one, as if it were the optimum."""
    if outcome.status not in FOUND:
        return outcome
    for hot in mutant.rows():
        chosen = [index for index, variable in enumerate(hot) if variable.value and variable.value > 0.5]
        if chosen and len(hot) > 1:
            hot[chosen[0]].set_value(0)
            hot[chosen[0] - 1].set_value(1)
            break
    return outcome


def off_by_one_and_consistent(mutant: Mutant, outcome: Outcome) -> Outcome:
    """The same, with an objective and a bound that fit the spoiled point."""
    if outcome.status not in FOUND or not off_by_one(mutant, outcome):
        return outcome
    saved = [(v, v.value) for hot in mutant.rows() for v in hot]
    for variable, value in saved:
        variable.fix(round(value))
    mutant.inner.update_bounds([variable for variable, _ in saved])
    honest = mutant.inner.solve(10)
    for variable, _ in saved:
        variable.unfix()
    mutant.inner.update_bounds([variable for variable, _ in saved])
    if honest.status in FOUND:
        return replace(honest, status=SolveStatus.OPTIMAL, bound=honest.objective)
    for variable, value in saved:
        variable.set_value(value)
    return outcome


def false_infeasible(mutant: Mutant, outcome: Outcome) -> Outcome:
    return Outcome(SolveStatus.INFEASIBLE, nan, -inf, outcome.seconds)


def bound_too_low(mutant: Mutant, outcome: Outcome) -> Outcome:
    return replace(outcome, bound=outcome.bound - 10 - abs(outcome.bound))


def bound_too_high(mutant: Mutant, outcome: Outcome) -> Outcome:
    return replace(outcome, bound=outcome.bound + 10 + abs(outcome.bound))


def objective_too_good(mutant: Mutant, outcome: Outcome) -> Outcome:
    better = outcome.objective - 1 - 0.1 * abs(outcome.objective)
    return replace(outcome, objective=better, bound=better)


def not_a_number(mutant: Mutant, outcome: Outcome) -> Outcome:
    return replace(outcome, objective=nan, bound=nan)


def point_of_nan(mutant: Mutant, outcome: Outcome) -> Outcome:
    for hot in mutant.rows():
        hot[0].set_value(nan, skip_validation=True)
    return outcome


def fractional(mutant: Mutant, outcome: Outcome) -> Outcome:
    for hot in mutant.rows():
        for variable in hot:
            variable.set_value(1 / len(hot), skip_validation=True)
    return outcome


def stale(mutant: Mutant, outcome: Outcome) -> Outcome:
    """The first answer for ever, whatever the model has become."""
    every = [variable for hot in mutant.rows() for variable in hot] + list(mutant.model.present.values())
    if mutant.remembered is None or mutant.last is None:
        mutant.remembered, mutant.last = [variable.value for variable in every], outcome
        return outcome
    for variable, value in zip(every, mutant.remembered, strict=True):
        variable.set_value(value)
    return mutant.last


def crash(mutant: Mutant, outcome: Outcome) -> Outcome:
    return Outcome(SolveStatus.ERROR, nan, -inf, outcome.seconds, "crashed")


def optimal_without_time(mutant: Mutant, outcome: Outcome) -> Outcome:
    """A limit that is reported as an optimum with an empty bound."""
    return replace(outcome, status=SolveStatus.OPTIMAL, bound=-inf) if outcome.status in FOUND else outcome


MUTANTS: tuple[Spoil, ...] = (
    off_by_one,
    off_by_one_and_consistent,
    false_infeasible,
    bound_too_low,
    bound_too_high,
    objective_too_good,
    not_a_number,
    point_of_nan,
    fractional,
    stale,
    crash,
    optimal_without_time,
)


def equal(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(abs(x - y) <= 1e-9 * max(abs(x), abs(y)) for x, y in zip(a, b, strict=True))


def verdicts(case: Case, monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> list[str]:
    """`caught`, `right` or `wrong` for one front and one optimum that a mutant was asked for."""
    compiled = compile_program(case.program)
    expected = naive.naive_front(case.program, case.points)
    # the default argument of `build_selection` is bound already: its model is given the mutant instead
    monkeypatch.setattr(
        selection, "WatchedBackEnd", lambda honest: WatchedBackEnd(Mutant(honest._model, spoil))
    )
    front = pareto(case.program, compiled, 20, FrontMethod(join_cells=-1, completion_cells=0))
    answer = solve(case.program, compiled, 20, join_cells=-1)
    monkeypatch.undo()
    signs = [objective.sign for objective in case.program.objectives]
    found = [tuple(s * v for s, v in zip(signs, p.objectives, strict=True)) for p in front.points]
    same = len(found) == len(expected) and all(any(equal(a, b) for b in expected) for a in found)
    best = (signs[0] * answer.objective,)
    if answer.status is SolveStatus.INFEASIBLE:
        sound = not expected
    else:
        sound = answer.status is not SolveStatus.OPTIMAL or (bool(expected) and equal(best, expected[0][:1]))
        bounded = (
            answer.bound != answer.bound
            or not expected
            or (signs[0] * answer.bound <= expected[0][0] + 1e-9 * abs(expected[0][0]))
        )
        sound = sound and bounded
    return [
        "caught" if not front.complete else "right" if same else "wrong",
        "wrong"
        if not sound
        else "right"
        if answer.status in (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE)
        else "caught",
    ]


def inject(seeds: range, monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    counts = {spoil.__name__: Counter[str]() for spoil in MUTANTS}
    for seed in seeds:
        case = random_case(seed)
        for spoil in MUTANTS:
            for verdict in verdicts(case, monkeypatch, spoil):
                counts[spoil.__name__][verdict] += 1
                assert verdict != "wrong", (seed, spoil.__name__)
    return counts


def test_lies_never_leave_as_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = inject(range(40_000, 40_008), monkeypatch)
    assert all(counts[name]["caught"] for name in ("not_a_number", "fractional", "crash", "false_infeasible"))


@pytest.mark.slow
def test_lies_never_leave_as_proofs_at_length(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = inject(range(41_000, 41_060), monkeypatch)
    with capsys.disabled():
        print(f"\n{sum(sum(c.values()) for c in counts.values())} injections:")
        for name, counter in counts.items():
            print(f"  {name}: {dict(counter)}")
    assert sum(sum(counter.values()) for counter in counts.values()) >= 1_000


def test_a_hanging_solver_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def hang(mutant: Mutant, outcome: Outcome) -> Outcome:
        stop.wait(60)
        return outcome

    monkeypatch.setattr(
        selection, "WatchedBackEnd", lambda honest: WatchedBackEnd(Mutant(honest._model, hang))
    )
    case = next(c for c in map(random_case, range(40_000, 40_100)) if naive.naive_front(c.program, c.points))
    try:
        front = pareto(case.program, seconds=0.5, method=FrontMethod(join_cells=-1, completion_cells=0))
        assert not front.complete
        assert front.route == COLUMNS
        assert front.seconds < 30
        assert front.open_boxes
    finally:
        stop.set()


def test_an_abandoned_solver_is_asked_nothing_more() -> None:
    release = threading.Event()

    class Sleeper:
        name, linear_only = "sleeper", True

        def solve(self, seconds: float | None) -> Outcome:
            release.wait(30)
            return Outcome(SolveStatus.OPTIMAL, 1.0, 1.0, 0.0)

        def update_bounds(self, variables: list[Any]) -> None: ...
        def add(self, constraint: Any) -> None: ...
        def remove(self, constraint: Any) -> None: ...

    watched = WatchedBackEnd(Sleeper())
    assert watched.solve(0.01).status is SolveStatus.LIMIT
    assert watched.solve(5).status is SolveStatus.ERROR
    release.set()
    assert WatchedBackEnd(Sleeper()).solve(5).objective == 1.0
