"""Generated bad input: whatever is done to a problem file, it loads or ends in a ProblemError."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmopt_problems import Problem, ProblemError, examples, load

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = examples.path("quickstart").read_text()
DATA: dict[str, Any] = yaml.safe_load(TEXT)

Route = tuple[str | int, ...]


def routes(value: object, here: Route = ()) -> Iterator[Route]:
    """Every place in nested data."""
    yield here
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for step, child in children:
        yield from routes(child, (*here, step))


def at(data: Any, route: Route) -> Any:
    """The value at a place."""
    for step in route:
        data = data[step]
    return data


MAPPINGS = [route for route in routes(DATA) if isinstance(at(DATA, route), dict)]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["-1 s", "1 req/s", "p95", [], {}, [[]], {"choices": []}, {"process": "trace"}]),
)


def outcome(content: bytes, *overrides: str) -> Problem | ProblemError:
    """What loading these bytes ends in; any other exception fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "problem.yaml")
        path.write_bytes(content)
        try:
            return load(path, overrides)
        except ProblemError as error:
            str(error).encode()
            return error


@pytest.mark.parametrize("route", MAPPINGS, ids=str)
def test_an_unknown_key_anywhere_is_refused_with_the_allowed_ones(route: Route) -> None:
    data = copy.deepcopy(DATA)
    section = at(data, route)
    known = next(iter(section))
    section[known + "x"] = 1
    error = outcome(yaml.safe_dump(data, allow_unicode=True).encode())
    assert isinstance(error, ProblemError)
    fault = next(fault for fault in error.faults if fault.rule == "unknown-key")
    assert fault.value == known + "x"
    assert known in fault.remedy
    assert fault.remedy.startswith(("did you mean", "use one of"))


@FEW
@given(st.sampled_from(list(routes(DATA))[1:]), JUNK)
def test_any_value_anywhere_loads_or_is_refused(route: Route, junk: object) -> None:
    data = copy.deepcopy(DATA)
    at(data, route[:-1])[route[-1]] = junk
    outcome(yaml.safe_dump(data, allow_unicode=True).encode())


@FEW
@given(st.integers(0, len(TEXT) - 1), st.integers(0, 20), st.binary(max_size=6))
def test_any_bytes_in_the_file_load_or_are_refused(start: int, cut: int, junk: bytes) -> None:
    content = TEXT.encode()
    outcome(content[:start] + junk + content[start + cut :])


@FEW
@given(st.sampled_from(list(routes(DATA))[1:]), st.text(max_size=12))
def test_any_override_loads_or_is_refused(route: Route, junk: str) -> None:
    outcome(TEXT.encode(), f"{'.'.join(map(str, route))}={junk}")


@FEW
@given(st.text(max_size=20))
def test_any_option_text_loads_or_is_refused(junk: str) -> None:
    outcome(TEXT.encode(), junk)
