"""The traffic section: every process, length and class is accepted; bad combinations are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmopt_problems import Problem, ProblemError, load

Write = Callable[[str | bytes], Path]

CONSTANT = {"distribution": "constant", "value": 500}
LENGTHS = {"input_tokens": CONSTANT, "output_tokens": CONSTANT}
POISSON = {"process": "poisson", "rate": "6 req/s"}
TALK = {"turns": {"distribution": "uniform", "min": 1, "max": 5}, "think_time": "20 s"}
ONE = {"name": "one", "share": 0.4} | LENGTHS
TWO = {"name": "two", "share": "60 %"} | LENGTHS
LEVEL = {"class": "two", "metric": "ttft", "statistic": "p95", "at_most": "1 s"}

ACCEPTED: list[dict[str, Any]] = [
    {"arrivals": {"process": "weibull", "rate_per_min": 90, "cv": 2.0}} | LENGTHS,
    {"arrivals": {"process": "on_off", "rate": "6 req/s", "burst_s": 5, "silence": "1 min"}} | LENGTHS,
    {
        "arrivals": {
            "process": "batch",
            "rate": "6 req/s",
            "size": {"distribution": "zipf", "exponent": 1.0, "max": 9},
        }
    }
    | LENGTHS,
    {
        "arrivals": {
            "process": "day_curve",
            "points": [{"at": "0 h", "rate": "1 req/s"}, {"at_h": 9, "rate_per_s": 6}],
            "start": "9 h",
        }
    }
    | LENGTHS,
    {"arrivals": {"process": "sinusoid", "rate": "6 req/s", "swing": "50 %", "peak": "14 h"}} | LENGTHS,
    {"arrivals": {"process": "closed_loop", "concurrency": 4, "think_time_ms": 500, "think_time_cv": 0.0}}
    | LENGTHS,
    {"arrivals": POISSON, "input_tokens": {"distribution": "normal", "mean": 900, "cv": 0.3, "min": 600}}
    | {"output_tokens": {"distribution": "empirical", "values": [10, 20], "weights": [1, 2]}},
    {"arrivals": POISSON, "shared_prefix": {"tokens": 64, "groups": 9, "zipf_exponent": 1.1}} | LENGTHS,
    {"arrivals": POISSON, "conversation": TALK | {"follow_up_tokens": CONSTANT, "max_input_tokens": 8000}}
    | LENGTHS,
    {"arrivals": POISSON, "classes": [ONE | {"conversation": TALK}, TWO]},
]


def problem(traffic: dict[str, Any], base_text: str) -> dict[str, Any]:
    """The base problem with another traffic section, as data."""
    data: dict[str, Any] = yaml.safe_load(base_text)
    return data | {"traffic": traffic}


@pytest.mark.parametrize("traffic", ACCEPTED, ids=lambda each: "-".join([each["arrivals"]["process"], *each]))
def test_traffic_is_accepted_and_survives_being_written(
    traffic: dict[str, Any], base_text: str, write: Write
) -> None:
    data = problem(traffic, base_text)
    # A Python float such as 900 is written as JSON 900.
    found = load(write(json.dumps(data)))
    written = json.loads(found.model_dump_json(exclude_none=True))
    assert Problem.model_validate(written) == found


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"arrivals": {"process": "weibull", "rate": "6 req/s"}} | LENGTHS,
        "missing-key",
        '{"process": "weibull"',
    ),
    ({"arrivals": {"process": "weibull", "rate": "6 req/s", "cv": 0}} | LENGTHS, "greater-than-equal", "0"),
    (
        {"arrivals": {"process": "on_off", "rate": "6 req/s", "burst": "0 s", "silence": "1 s"}} | LENGTHS,
        "greater-than",
        '"0 s"',
    ),
    (
        {"arrivals": {"process": "sinusoid", "rate": "6 req/s", "swing": 1.5}} | LENGTHS,
        "less-than-equal",
        "1.5",
    ),
    ({"arrivals": {"process": "day_curve", "points": []}} | LENGTHS, "too-short", "[]"),
    (
        {
            "arrivals": {
                "process": "day_curve",
                "points": [{"at": "9 h", "rate": "1 req/s"}, {"at": "8 h", "rate": "1 req/s"}],
            }
        }
        | LENGTHS,
        "curve-order",
        '"8 h"',
    ),
    (
        {"arrivals": {"process": "day_curve", "period": "7 h", "points": [{"at": "7 h", "rate": "1 req/s"}]}}
        | LENGTHS,
        "curve-period",
        '"7 h"',
    ),
    (
        {"arrivals": {"process": "day_curve", "points": [{"at": "7 h", "rate": "0 req/s"}]}} | LENGTHS,
        "curve-empty",
        '[{"at": "7 h"',
    ),
    (
        {"arrivals": {"process": "closed_loop", "concurrency": 4, "think_time": 5}} | LENGTHS,
        "unit-missing",
        "5",
    ),
    (
        {"arrivals": {"process": "closed_loop", "concurrency": 4}, "conversation": TALK} | LENGTHS,
        "conversation-loop",
        '{"turns"',
    ),
    (
        {
            "arrivals": {"process": "closed_loop", "concurrency": 4},
            "classes": [TWO, ONE | {"conversation": TALK}],
        },
        "conversation-loop",
        '{"turns"',
    ),
    (
        {"arrivals": POISSON}
        | LENGTHS
        | {"input_tokens": {"distribution": "normal", "mean": 9, "cv": 0.1, "min": 30}},
        "length-mean",
        "9",
    ),
    (
        {"arrivals": POISSON}
        | LENGTHS
        | {"input_tokens": {"distribution": "zipf", "exponent": 1.0, "min": 9, "max": 3}},
        "length-empty",
        "9",
    ),
    (
        {"arrivals": POISSON} | LENGTHS | {"input_tokens": {"distribution": "empirical"}},
        "empirical-source",
        '{"distribution": "empirical"}',
    ),
    (
        {"arrivals": POISSON}
        | LENGTHS
        | {"input_tokens": {"distribution": "empirical", "values": [1], "weights": [1, 2]}},
        "empirical-weights",
        "[1, 2]",
    ),
    (
        {"arrivals": POISSON}
        | LENGTHS
        | {"input_tokens": {"distribution": "empirical", "values": [1], "weights": [0]}},
        "empirical-weights",
        "[0]",
    ),
    (
        {"arrivals": POISSON}
        | LENGTHS
        | {"input_tokens": {"distribution": "empirical", "file": "nowhere.csv"}},
        "file-missing",
        '"nowhere.csv"',
    ),
    ({"arrivals": POISSON, "classes": [ONE, TWO]} | LENGTHS, "classes-twice", '{"distribution": "constant"'),
    ({"arrivals": POISSON, "classes": [ONE, TWO], "conversation": TALK}, "classes-twice", '{"turns"'),
    ({"arrivals": POISSON, "classes": [ONE, ONE]}, "class-name", '"one"'),
    ({"arrivals": POISSON, "classes": [ONE]}, "class-shares", '[{"name": "one"'),
    (
        {"arrivals": POISSON, "classes": [ONE, TWO | {"shared_prefix": {"tokens": 900}}]},
        "prefix-longer-than-input",
        "900",
    ),
    ({"arrivals": POISSON, "conversation": {"turns": CONSTANT}} | LENGTHS, "missing-key", '{"turns"'),
    ({"arrivals": POISSON}, "lengths-missing", '{"arrivals"'),
    ({"arrivals": POISSON | {"process": "waybill"}} | LENGTHS, "unknown-choice", '"waybill"'),
    ({"arrivals": POISSON, "conversation": TALK | {"trns": 3}} | LENGTHS, "unknown-key", '"trns"'),
]


@pytest.mark.parametrize(("traffic", "rule", "culprit"), REFUSED)
def test_bad_traffic_is_refused_at_its_place(
    traffic: dict[str, Any], rule: str, culprit: str, base_text: str, write: Write
) -> None:
    path = write(json.dumps(problem(traffic, base_text)))
    with pytest.raises(ProblemError) as caught:
        load(path)
    error = caught.value
    assert error.rule == rule, str(error)
    assert error.remedy
    assert (error.file, error.line) == (str(path), 1)
    assert error.column is not None
    found = path.read_text()[error.column - 1 :]
    assert found.startswith(culprit), found[:60]


def test_a_class_that_no_context_holds_is_refused(base_text: str, write: Write) -> None:
    long = {
        "name": "long",
        "share": 0.6,
        "input_tokens": {"distribution": "constant", "value": 200_000},
        "output_tokens": CONSTANT,
    }
    path = write(json.dumps(problem({"arrivals": POISSON, "classes": [ONE, long]}, base_text), indent=1))
    with pytest.raises(ProblemError, match="200500 tokens") as caught:
        load(path)
    assert caught.value.rule == "context-too-short"
    # Conversations are bounded by their own limit, not by their longest message.
    talk = LENGTHS | {
        "input_tokens": {"distribution": "lognormal", "mean": 40_000, "cv": 1.0},
        "conversation": TALK,
    }
    assert load(write(json.dumps(problem({"arrivals": POISSON} | talk, base_text)))).traffic.conversation


def test_goodput_may_count_the_levels_of_classes(base_text: str, write: Write) -> None:
    data = problem({"arrivals": POISSON, "classes": [ONE, TWO]}, base_text)
    data |= {"slo": [LEVEL], "objectives": [{"maximize": "goodput"}]}
    loaded = load(write(json.dumps(data)))
    assert loaded.objectives[0].metric == "goodput"
    assert loaded.slo[0].key == "two:ttft_p95_s"
    data["slo"] = []
    with pytest.raises(ProblemError, match="goodput counts"):
        load(write(json.dumps(data)))


@pytest.mark.parametrize(
    ("levels", "rule", "culprit"),
    [
        ([{"class": "two", "metric": "gpus", "at_most": 3}], "class-slo", '"gpus"'),
        ([LEVEL | {"metric": "itl"}], "class-slo", '"itl"'),
        ([LEVEL | {"class": "three"}], "class-unknown", '"three"'),
        ([LEVEL, LEVEL], "slo-duplicate", '{"class": "two"'),
    ],
)
def test_levels_of_classes_that_cannot_be(
    levels: list[dict[str, Any]], rule: str, culprit: str, base_text: str, write: Write
) -> None:
    data = problem({"arrivals": POISSON, "classes": [ONE, TWO]}, base_text) | {"slo": levels}
    path = write(json.dumps(data))
    with pytest.raises(ProblemError) as caught:
        load(path)
    assert caught.value.rule == rule
    assert path.read_text()[(caught.value.column or 0) - 1 :].startswith(culprit)
