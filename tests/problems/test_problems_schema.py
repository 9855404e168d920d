"""Units, metric names, and the sections of a problem when they are right."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmopt_problems import Problem, json_schema
from llmopt_problems.errors import RuleError
from llmopt_problems.metrics_catalog import METRICS, STATISTICS, MetricName, metric_key
from llmopt_problems.schema import CountDomain, Search
from llmopt_problems.units import KEY_SUFFIXES, UNITS, format_quantity, parse_quantity, split_key


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("2 s", "time", 2.0),
        ("40 ms", "time", 0.04),
        ("40ms", "time", 0.04),
        ("10 min", "time", 600.0),
        ("1.5e1 us", "time", 15e-6),
        (".5 h", "time", 1800.0),
        ("6 req/s", "request_rate", 6.0),
        ("120 requests/min", "request_rate", 2.0),
        ("5000 tok/s", "token_rate", 5000.0),
        ("3.50 USD/h", "price", 3.5),
        ("2 $", "money", 2.0),
        ("80 GiB", "memory", 80 * 2**30),
        ("50 GB/s", "bandwidth", 50e9),
        ("400 Gbit/s", "bandwidth", 50e9),
        ("20 kW", "power", 20e3),
        ("1 Wh", "energy", 3600.0),
        ("80 %", "share", 0.8),
        (0.8, "share", 0.8),
        (16, "count", 16.0),
    ],
)
def test_quantities_are_read_in_inner_units(text: object, dimension: Any, value: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "dimension", "rule"),
    [
        (40, "time", "unit-missing"),
        ("40", "time", "unit-missing"),
        ("40 furlongs", "time", "unit-unknown"),
        ("40 USD/h", "time", "unit-unknown"),
        ("fast", "time", "quantity"),
        ("", "time", "quantity"),
        ("1 2 s", "time", "quantity"),
        ("nan s", "time", "quantity"),
        ("1e999 s", "time", "finite"),
        (float("inf"), "share", "quantity"),
        (True, "share", "quantity"),
        (None, "time", "quantity"),
        ([1], "time", "quantity"),
    ],
)
def test_bad_quantities_name_their_rule(text: object, dimension: Any, rule: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_quantity(text, dimension)
    assert caught.value.rule == rule
    assert caught.value.remedy


@given(st.floats(0, 1e15), st.sampled_from(sorted(UNITS)))
def test_a_formatted_quantity_reads_back_exactly(value: float, dimension: Any) -> None:
    assert parse_quantity(format_quantity(value, dimension), dimension) == value


def test_every_key_suffix_stands_for_a_unit() -> None:
    units = set().union(*UNITS.values())
    assert set(KEY_SUFFIXES.values()) <= units
    assert all(split_key(f"at_most_{suffix}") == ("at_most", unit) for suffix, unit in KEY_SUFFIXES.items())


def test_every_metric_is_in_the_table_and_has_its_own_key() -> None:
    assert set(METRICS) == set(get_args(MetricName))
    keys = [
        metric_key(name, statistic)
        for name, info in METRICS.items()
        for statistic in (STATISTICS if info.needs_statistic else (None,))
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("metric", "statistic", "key"),
    [
        ("ttft", "p95", "ttft_p95_s"),
        ("tpot", "mean", "tpot_mean_s"),
        ("queueing", "p50", "queueing_p50_s"),
        ("throughput_tokens_per_s", None, "throughput_tokens_per_s"),
        ("goodput", None, "goodput_requests_per_s"),
        ("cost_per_million_output_tokens", None, "cost_per_million_output_tokens"),
        ("power", None, "power_w"),
        ("energy_per_output_token", None, "energy_per_output_token_j"),
        ("peak_memory", None, "peak_memory_bytes"),
        ("gpus", None, "gpus"),
    ],
)
def test_metric_keys_carry_statistic_and_unit(metric: Any, statistic: Any, key: str) -> None:
    assert metric_key(metric, statistic) == key


@pytest.mark.parametrize(("metric", "statistic"), [("ttft", None), ("gpus", "p95")])
def test_metric_key_refuses_a_wrong_statistic(metric: Any, statistic: Any) -> None:
    with pytest.raises(ValueError, match="statistic"):
        metric_key(metric, statistic)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (4, (4,)),
        ([4, 2, 1], (1, 2, 4)),
        ({"choices": [1, 8]}, (1, 8)),
        ({"range": {"min": 2, "max": 9, "step": 3}}, (2, 5, 8)),
        ({"range": {"min": 3, "max": 3}}, (3,)),
    ],
)
def test_domains_may_be_written_in_every_unambiguous_form(form: object, values: tuple[int, ...]) -> None:
    tp = Search.model_validate({"tp": form}).tp
    assert isinstance(tp, CountDomain)
    assert tp.values == values


def test_default_domains_follow_model_and_hardware() -> None:
    dense = Search().with_defaults(moe=False, node_gpus=8, gpus=6)
    assert dense.tp is not None
    assert dense.tp.values == (1, 2, 4)
    assert dense.ep == dense.attention_dp == CountDomain(choices=(1,))
    assert dense.instances is not None
    assert dense.instances.values == (1, 2, 3, 4, 5, 6)
    moe = Search.model_validate({"tp": [8, 16]}).with_defaults(moe=True, node_gpus=8, gpus=64)
    assert moe.ep is not None
    assert moe.ep.values == (1, 8, 16)
    assert moe.instances is not None
    assert moe.instances.values == tuple(range(1, 9))


_LATENCIES = [name for name, info in METRICS.items() if info.needs_statistic]


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Valid problems across arrivals, lengths, units and domains."""
    rate = draw(st.sampled_from([{"rate": "6 req/s"}, {"rate_per_s": 2.5}, {"rate_per_min": 90}]))
    length = st.sampled_from(
        [
            {"distribution": "constant", "value": 700},
            {"distribution": "uniform", "min": 600, "max": 900},
            {"distribution": "lognormal", "mean": 900.5, "cv": 0.5},
            {"distribution": "exponential", "mean": 800, "max": 2000},
        ]
    )
    arrivals = [
        {"process": "poisson"} | rate,
        {"process": "gamma", "cv": 2.0} | rate,
        {"process": "deterministic"} | rate,
        {"process": "closed_loop", "concurrency": 64},
    ]
    prefix: dict[str, Any] = {"shared_prefix": {"tokens": 500, "share": "50 %"}}
    bound = st.sampled_from([{"at_most": "2 s"}, {"at_most_ms": 40}, {"at_most_s": 0.3}])
    levels = draw(st.lists(st.sampled_from(_LATENCIES), unique=True))
    traffic = {"arrivals": draw(st.sampled_from(arrivals)), "input_tokens": draw(length)}
    return {
        "kind": "deployment",
        "model": {"name": "Llama-3.1-8B"},
        "hardware": {"accelerators": [{"name": "H100-SXM", "count": 8, "price_usd_per_h": 2.5}]},
        "traffic": traffic | {"output_tokens": draw(length)} | draw(st.sampled_from([{}, prefix])),
        "slo": [{"metric": metric, "statistic": "p95"} | draw(bound) for metric in levels],
        "objectives": [{"minimize": "gpus"}, {"maximize": "throughput_tokens_per_s"}],
        "limits": draw(st.sampled_from([{}, {"time": "10 min"}, {"time_min": 5}])),
    }


@given(problems())
def test_a_problem_survives_being_written_as_json(data: dict[str, Any]) -> None:
    problem = Problem.model_validate(data)
    written = problem.model_dump_json(exclude_none=True)
    assert Problem.model_validate(json.loads(written)) == problem
    assert Problem.model_validate(yaml.safe_load(written)) == problem


def test_sections_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Search().router = "round_robin"  # type: ignore[misc]


def test_json_schema_describes_every_field_and_allows_unit_keys() -> None:
    schema = json_schema()
    sections = list(schema["$defs"].values())
    fields = itertools.chain.from_iterable(section["properties"].items() for section in sections)
    bare = [name for name, field in fields if "description" not in field and "const" not in field]
    assert bare == []
    assert all(section["additionalProperties"] is False for section in sections)
    patterns = schema["$defs"]["ServiceLevel"]["patternProperties"]
    assert any(re.search(pattern, "at_most_ms") for pattern in patterns)
    assert not any(re.search(pattern, "at_most_furlongs") for pattern in patterns)
    assert {"required": ["rate_per_s"]} in schema["$defs"]["PoissonArrivals"]["allOf"][0]["oneOf"]
