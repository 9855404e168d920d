"""The compiled kernel and the plain-Python twin agree, request for request, on random small systems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import product
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator import ServiceModel
from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run, simulate

CASES = 400
SCHEDULED = 400
STARVED = 300
CACHED = 300
DRAFTED = 300
SENT = 300
MIXED = 300

KINDS = ("plain", "scheduled", "starved", "cached", "drafted", "sent", "mixed")
NOT_READ = {"Caching.host_bytes", "Speculation.draft", "ServiceModel.transfer", "PoolService.experts"}
"""Choices that no run reads: what host memory and drafts come to is in the service; links of one pool;
what is measured of experts."""


def random_case(case: int, make, load_helper, kind: str) -> tuple[Workload, Deployment, ServiceModel]:
    """One random system of a kind: `starved` lack growing pages, `sent` are disaggregated, `mixed` hybrid."""
    cases, rng = load_helper("twin_cases"), np.random.default_rng(case)
    workload = cases.random_workload(rng, int(rng.choice([8, 40])))
    mode = {"sent": "disaggregated", "mixed": "hybrid"}.get(kind)
    deployment = cases.random_deployment(rng, mode)
    if kind == "starved" or (kind == "drafted" and case % 3 == 0):
        workload, deployment = cases.starved(rng, workload)
    if kind == "mixed":
        deployment = cases.with_hybrid_scheduling(rng, deployment)
    if kind == "scheduled" or (kind in ("drafted", "sent") and case % 3 == 1):
        deployment = cases.with_scheduling(rng, deployment)
    if kind == "cached":
        deployment = cases.with_caching(rng, cases.with_scheduling(rng, deployment))
        deployment = replace(deployment, prefix_cache=True)
        workload = cases.with_conversations(rng, workload)
    if kind != "plain":
        workload = cases.with_classes(rng, workload)
    service = cases.random_service(rng, make, deployment.pools, kind != "plain" and rng.random() < 0.3)
    if kind in ("cached", "mixed") and rng.random() < 0.7:
        service = cases.with_hosts(rng, service)
    if kind in ("sent", "mixed"):
        deployment = cases.with_transfers(rng, deployment, service)
    if kind == "drafted":
        deployment, service = cases.with_speculation(rng, make, deployment, service)
    return workload, deployment, service


def check_case(case: int, make, load_helper, kind: str) -> Run:
    """The run of a random system, after it has been compared with the twin's."""
    cases = load_helper("twin_cases")
    workload, deployment, service = random_case(case, make, load_helper, kind)
    run = simulate(workload, deployment, service, case)
    stream = int(run.state.settings["stream"][0])
    twin = cases.run_twin(load_helper, workload, deployment, service, case, stream)
    cases.assert_equal(run, twin, case)
    return run


@pytest.mark.parametrize("start", range(0, CASES, 100))
def test_kernel_equals_the_twin(start: int, make, load_helper) -> None:
    for case in range(start, start + 100):
        check_case(case, make, load_helper, "plain")


@pytest.mark.parametrize("start", range(0, SCHEDULED, 100))
def test_kernel_equals_the_twin_under_every_scheduling(start: int, make, load_helper) -> None:
    """Mixing, order, queue limit, window, overhead, growth, grids: drawn at random."""
    runs = [check_case(case, make, load_helper, "scheduled") for case in range(start, start + 100)]
    assert sum(int(run.state.world["turned_away"][0]) for run in runs) > 100


@pytest.mark.parametrize("start", range(0, STARVED, 100))
def test_kernel_equals_the_twin_when_pages_run_out(start: int, make, load_helper) -> None:
    runs = [check_case(case, make, load_helper, "starved") for case in range(start, start + 100)]
    assert sum(int(run.state.world["retractions"][0]) for run in runs) > 200


@pytest.mark.parametrize("start", range(0, CACHED, 100))
def test_kernel_equals_the_twin_under_every_cache(start: int, make, load_helper) -> None:
    """LRU, LFU, FIFO; host tiers; users who think, conversations whose next turn hits the answer."""
    runs = [check_case(case, make, load_helper, "cached") for case in range(start, start + 100)]
    assert sum(int(np.sum(run.state.turns["follows"] >= 0)) for run in runs) > 300
    assert sum(int(run.host_hit_tokens.sum()) for run in runs) > 50


@pytest.mark.parametrize("start", range(0, DRAFTED, 100))
def test_kernel_equals_the_twin_when_it_speculates(start: int, make, load_helper) -> None:
    """Drafts of up to four tokens, free or with a model of their own; growing and short of pages too."""
    runs = [check_case(case, make, load_helper, "drafted") for case in range(start, start + 100)]
    totals = sum(run.state.totals.sum(axis=0) for run in runs)
    assert totals[k.DECODE_TOKENS] > 1.3 * totals[k.DECODED]
    assert sum(int(run.state.world["retractions"][0]) for run in runs) > 50


@pytest.mark.parametrize("start", range(0, MIXED, 100))
def test_kernel_equals_the_twin_where_hybrid_pools_do_both(start: int, make, load_helper) -> None:
    runs = [check_case(case, make, load_helper, "mixed") for case in range(start, start + 100)]
    sent = sum(int(np.sum(run.column("decode_rank") >= 0)) for run in runs)
    both = [run.state.settings["back_start"][0] <= run.column("rank") for run in runs]
    assert sent > 300
    assert sum(int(own.sum()) for own in both) > 300


@pytest.mark.parametrize("start", range(0, SENT, 100))
def test_kernel_equals_the_twin_when_layers_are_sent(start: int, make, load_helper) -> None:
    runs = [check_case(case, make, load_helper, "sent") for case in range(start, start + 100)]
    streamed = sum(int(run.state.requests["streams"].sum()) for run in runs)
    assert streamed > 300
    assert sum(int(run.finished.sum()) for run in runs) > streamed + 300


def choices(hint: object) -> set[str]:
    """What a field of this type can choose: its literals, both truth values, `None` and `given`."""
    if get_origin(hint) is Literal:
        return {repr(value) for value in get_args(hint)}
    if hint is bool:
        return {"False", "True"}
    if get_origin(hint) in (Union, UnionType):
        return {"None", "given"}
    return set()


def chosen(thing: object) -> Iterator[tuple[str, set[str], str]]:
    """Every choice of a dataclass and of those inside it: the field, what it could be, what it is."""
    hints = get_type_hints(type(thing))
    for field in fields(thing):  # type: ignore[arg-type]
        value, options = getattr(thing, field.name), choices(hints[field.name])
        if options:
            among = repr(value) if repr(value) in options else "given"
            yield f"{type(thing).__name__}.{field.name}", options, among
        for inner in value if isinstance(value, tuple) else (value,):
            if is_dataclass(inner):
                yield from chosen(inner)


def test_the_cases_make_every_choice(make, load_helper) -> None:
    """Whatever can be chosen in a workload, deployment or service is chosen in some case."""
    missing: dict[str, set[str]] = {}
    for kind, case in product(KINDS, range(60)):
        for thing in random_case(case, make, load_helper, kind):
            for field, options, value in chosen(thing):
                missing.setdefault(field, set(options)).discard(value)
    missing = {field: left for field, left in missing.items() if left and field not in NOT_READ}
    assert not missing, missing


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_equals_the_twin_on_many_more(make, load_helper, kind: str) -> None:
    for case in range(CASES, CASES + 4000):
        check_case(case, make, load_helper, kind)
