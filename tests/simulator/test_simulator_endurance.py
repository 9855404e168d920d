"""Random systems of every kind: served with every invariant kept or refused by name, each within a limit."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from random_systems.cases import Outcome, run_case
from random_systems.fields import RANGES, NoRangeError, draw
from random_systems.watchdog import watched

LIMIT_S = 60.0
"""Generous: a loaded machine must not look like a hang. A case takes some milliseconds."""
HAPPENS = (
    "requests finished",
    "requests that never fit",
    "requests turned away",
    "retractions",
    "prefix hits",
    "hits in host memory",
    "speculation",
    "KV transfers",
    "layers sent while others are computed",
    "KV that stays in a node",
    "hybrid pools",
    "closed loops",
    "turns that wait for answers",
    "ranks that step together",
)


def endure(cases: range, workers: int) -> list[Outcome]:
    """The outcomes, after checking that none is a fault and that everything has happened."""
    outcomes = watched(run_case, cases, LIMIT_S, workers)
    faults = [outcome for outcome in outcomes if outcome.kind not in ("served", "refused")]
    assert not faults, faults[:5]
    seen = Counter(name for o in outcomes for name, happened in (o.seen or {}).items() if happened)
    assert all(seen[name] > 0 for name in HAPPENS), seen
    return outcomes


def test_random_systems_endure() -> None:
    outcomes = endure(range(1000), workers=1)
    assert sum(outcome.kind == "served" for outcome in outcomes) > 600


@pytest.mark.slow
def test_a_hundred_thousand_random_systems_endure() -> None:
    endure(range(1000, 101_000), workers=2)


def test_equal_numbers_are_equal_systems() -> None:
    assert [run_case(case) for case in range(20)] == [run_case(case) for case in range(20)]


def test_a_case_that_hangs_is_killed_and_counted() -> None:
    """Cases that sleep that many seconds; the worker's first may take as long as a compilation."""
    outcomes = watched(time.sleep, [0, 600, 0, 600], limit_s=0.5)  # type: ignore[arg-type]
    assert [outcome.kind if outcome else None for outcome in outcomes] == [None, "hang", None, "hang"]
    assert "case 600: nothing within 0.5 s" in outcomes[1].reason


def test_a_case_that_ends_its_process_has_failed() -> None:
    outcomes = watched(os._exit, [3, 4], limit_s=5.0, workers=2)
    assert [outcome.kind for outcome in outcomes] == ["failed", "failed"]


def test_every_field_of_a_system_is_drawn() -> None:
    """A field that a behaviour adds must be added to the ranges too."""
    for kind in RANGES:
        for seed in range(20):
            given = {"step": None, "draft": None, "role": "serve", "pools": ()}
            names = {field for field in given if field in kind.__dataclass_fields__}
            draw(np.random.default_rng(seed), kind, **{name: given[name] for name in names})


def test_a_field_without_a_range_is_named() -> None:
    @dataclass
    class Behaviour:
        patience_s: float

    globals()["Behaviour"] = Behaviour
    with pytest.raises(NoRangeError, match=r"Behaviour\.patience_s has no range"):
        draw(np.random.default_rng(0), Behaviour)
