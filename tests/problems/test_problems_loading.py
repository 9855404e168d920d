"""Every kind of bad problem file is refused at its place, with its rule and a remedy."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llmopt_problems import ProblemError, load
from llmopt_problems.document import MAX_BYTES

Write = Callable[[str | bytes], Path]


def refused(path: Path, *overrides: str) -> ProblemError:
    """The error that loading ends in."""
    with pytest.raises(ProblemError) as caught:
        load(path, overrides)
    for fault in caught.value.faults:
        assert fault.rule
        assert fault.remedy
    return caught.value


# What to replace in the base problem, with what; the rule, and the text that the error points at.
CHANGES = [
    ('at_most: "2 s"', "at_most: 2", "unit-missing", "2}"),
    ('at_most: "2 s"', 'at_most: "2 USD/h"', "unit-unknown", '"2 USD/h"'),
    ('at_most: "2 s"', "at_most: soon", "quantity", "soon"),
    ('at_most: "2 s"', "at_most_ms: soon", "quantity", "soon"),
    ('at_most: "2 s"', 'at_most: "-2 s"', "bound-negative", '"-2 s"'),
    ('at_most: "2 s"', 'at_most: "2 s", at_most_ms: 3', "key-twice", "at_most_ms"),
    (', at_most: "2 s"', "", "slo-bound", "{metric"),
    ("statistic: p95, ", "", "statistic-missing", "{metric"),
    ("statistic: p95", "statistic: p96", "unknown-choice", "p96"),
    ("metric: ttft", "metric: tftt", "unknown-choice", "tftt"),
    ('ttft, statistic: p95, at_most: "2 s"', "gpus, statistic: p95, at_most: 2", "statistic-unused", "p95"),
    ("minimize: gpus", "minimize: throughput_tokens_per_s", "objective-direction", "throughput_tokens"),
    ("minimize: gpus", "minimize: gpus, maximize: gpus", "objective-form", "{minimize"),
    (
        "  - {minimize: gpus}",
        "  - {minimize: gpus}\n  - {minimize: gpus}",
        "objective-duplicate",
        "{minimize",
    ),
    ("  - {minimize: gpus}", "  []", "too-short", "[]"),
    ("minimize: gpus", "maximize: goodput", "goodput-needs-slo", "{maximize"),
    ('rate: "6 req/s"', "rate: 6", "unit-missing", "6}"),
    ('rate: "6 req/s"', 'rate: "0 req/s"', "greater-than", '"0 req/s"'),
    (', rate: "6 req/s"', "", "missing-key", "{process"),
    ("process: poisson", "process: poison", "unknown-choice", "poison"),
    ("process: poisson, ", "", "missing-key", "{rate"),
    ("value: 4000", "value: 0", "greater-than-equal", "0}"),
    ("value: 4000", 'value: "4000"', "int-type", '"4000"'),
    ("value: 4000", "valeu: 4000", "unknown-key", "valeu"),
    ("constant, value: 4000", "uniform, min: 9, max: 3", "length-empty", "9,"),
    ("  output_tokens: {distribution: constant, value: 500}\n", "", "lengths-missing", "arrivals:"),
    ("slo:", "  shared_prefix: {tokens: 4001}\nslo:", "prefix-longer-than-input", "4001"),
    ("slo:", "  shared_prefix: {tokens: 100, share: 1.5}\nslo:", "less-than-equal", "1.5"),
    ("slo:", "search: {tp: {choices: []}}\nslo:", "domain-empty", "{choices"),
    ("slo:", "search: {tp: {range: {min: 3, max: 2}}}\nslo:", "domain-empty", "{range"),
    ("slo:", "search: {modes: []}\nslo:", "domain-empty", "[]"),
    ("slo:", "search: {chunk_tokens: [0, 512]}\nslo:", "domain-not-positive", "[0"),
    ("slo:", "search: {batch_cap: -4}\nslo:", "domain-not-positive", "-4"),
    ("slo:", "search: {tp: [2, 2]}\nslo:", "domain-duplicate", "[2, 2]"),
    ("slo:", "search: {tp: {}}\nslo:", "domain-form", "{}"),
    ("slo:", "search: {tp: true}\nslo:", "int-type", "true"),
    ("slo:", "search: {tp: [1, two]}\nslo:", "int-type", "two"),
    (
        "slo:",
        "search: {router: cache_aware, prefix_cache: false}\nslo:",
        "cache-aware-needs-prefix-cache",
        "cache_aware",
    ),
    ("count: 16", "count: 0", "greater-than-equal", "0,"),
    ("count: 16", "count: 1.5", "int-type", "1.5"),
    (', price: "3.50 USD/h"', "", "missing-key", "{name: H200"),
    ("name: H200-SXM", "name: H200-SXN", "known-accelerator", "H200-SXN"),
    ("count: 16", "count: 16, network: smoke", "known-link", "smoke"),
    ("name: Llama-3.3-70B", "name: Lama-3.3-70B", "known-model", "Lama"),
    ("name: Llama-3.3-70B", "config: nowhere.json", "file-missing", "nowhere.json"),
    ("name: Llama-3.3-70B, ", "", "model-source", "{weights"),
    ("weights: fp8", "weights: fp7", "unknown-choice", "fp7"),
    ("kind: deployment", "kind: deploiment", "unknown-choice", "deploiment"),
    ("kind: deployment", "kind: deployment\nnamme: x", "unknown-key", "namme"),
    ("kind: deployment", "kind: deployment\nkind: deployment", "yaml-duplicate-key", "kind"),
    ("kind: deployment", "kind: deployment\n1: 2", "yaml-text-keys", "1:"),
    ("kind: deployment", "kind: deployment\nname: !!python/name:os.system x", "yaml-plain-types", "!!python"),
    ("kind: deployment", "kind: !!binary aGk=", "yaml-plain-types", "!!binary"),
    ("kind: deployment", "kind: deployment\nname: 5", "string-type", "5"),
    ("kind: deployment", "kind: deployment\n<<: {name: x}", "yaml-text-keys", "<<"),
    ("kind: deployment", "kind: deployment\nname: [", "yaml-syntax", "hardware:"),
]


@pytest.mark.parametrize(("old", "new", "rule", "culprit"), CHANGES)
def test_a_bad_value_is_found_at_its_place(
    base_text: str, write: Write, old: str, new: str, rule: str, culprit: str
) -> None:
    assert base_text.count(old) == 1
    text = base_text.replace(old, new)
    if rule == "goodput-needs-slo":
        text = text.replace('slo:\n  - {metric: ttft, statistic: p95, at_most: "2 s"}\n', "")
    path = write(text)
    fault = next(fault for fault in refused(path).faults if fault.rule == rule)
    assert fault.line is not None
    assert fault.column is not None
    assert text.splitlines()[fault.line - 1][fault.column - 1 :].startswith(culprit)
    assert str(fault).startswith(f"{path}:{fault.line}:{fault.column}: ")


def test_the_whole_message_says_what_where_value_rule_and_remedy(base_text: str, write: Write) -> None:
    path = write(base_text.replace('"2 s"', "2"))
    assert str(refused(path)) == (
        f"{path}:11:45: slo.0.at_most: this time has no unit (got 2)\n"
        '  rule: unit-missing\n  remedy: write it as "40 ms"'
    )


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        ('{metric: ttft, statistic: p95, at_least: "3 s"}', "slo-contradiction"),
        ('{metric: ttft, statistic: p95, at_most: "3 s"}', "slo-duplicate"),
    ],
)
def test_service_levels_must_agree(base_text: str, write: Write, second: str, rule: str) -> None:
    error = refused(write(base_text.replace("objectives:", f"  - {second}\nobjectives:")))
    assert (error.rule, error.line) == (rule, 12)


@pytest.mark.parametrize(
    "extra", ["input_tokens: {distribution: constant, value: 4}", "shared_prefix: {tokens: 4}"]
)
def test_a_trace_brings_its_own_lengths(base_text: str, write: Write, tmp_path: Path, extra: str) -> None:
    (tmp_path / "t.csv").write_text("")
    data = yaml.safe_load(base_text)
    data["traffic"] = {"arrivals": {"process": "trace", "file": "t.csv", "format": "azure"}}
    assert load(write(json.dumps(data))).traffic.input_tokens is None
    data["traffic"] |= yaml.safe_load(extra)
    assert refused(write(json.dumps(data))).rule == "trace-twice"


def test_all_faults_are_reported_together_in_the_order_of_the_file(base_text: str, write: Write) -> None:
    text = base_text.replace("6 req/s", "6").replace("fp8", "fp7").replace("count: 16", "count: x")
    error = refused(write(text))
    assert [fault.line for fault in error.faults] == [2, 5, 7]
    assert [fault.rule for fault in error.faults] == ["unknown-choice", "int-type", "unit-missing"]


def test_a_misspelt_key_gets_the_right_one_suggested(base_text: str, write: Write) -> None:
    error = refused(write(base_text.replace("process: poisson", "process: poisson, rat: 3")))
    assert error.remedy == "did you mean rate? (use one of: process, rate)"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "file-empty"),
        (b"# only a comment\n", "file-empty"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "file-text"),
        (b"a: \x00\n", "yaml-syntax"),
        (b"x" * (MAX_BYTES + 1), "file-size"),
        (b"[" * 1000, "yaml-depth"),
        (b"[" + b"1," * 30_000 + b"]", "yaml-nodes"),
        (b"a: &a [*a]\n", "yaml-aliases"),
        (b"--- {}\n--- {}\n", "yaml-syntax"),
        (b'a: "\\UFFFFFFFF"\n', "yaml-syntax"),
        (b"a: " + b"9" * 5000, "yaml-plain-types"),
        (b"- 1\n- 2\n", "model-type"),
        (b"just text", "model-type"),
    ],
)
def test_what_is_no_problem_file_is_refused(write: Write, content: bytes, rule: str) -> None:
    assert refused(write(content)).rule == rule


def test_aliases_that_multiply_are_refused_before_they_do(write: Write) -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    assert refused(write("\n".join(rows))).rule == "yaml-aliases"


def test_plain_aliases_are_allowed(base_text: str, write: Write) -> None:
    text = base_text.replace("input_tokens: {", "input_tokens: &n {")
    text = text.replace("output_tokens: {distribution: constant, value: 500}", "output_tokens: *n")
    traffic = load(write(text)).traffic
    assert traffic.input_tokens == traffic.output_tokens


@pytest.mark.parametrize("name", ["missing.yaml", ".", "no\0name", "x" * 5000])
def test_an_unreadable_file_is_an_error_of_the_user(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path / name).rule == "file-readable"


def test_json_is_read_too(base_text: str, write: Write) -> None:
    as_yaml = load(write(base_text))
    assert load(write(json.dumps(yaml.safe_load(base_text), indent=2))) == as_yaml


def test_numbers_are_those_of_yaml_1_2(base_text: str, write: Write) -> None:
    text = base_text.replace("poisson,", "gamma, cv: 1e0,")
    assert load(write(text)).traffic.arrivals.cv == 1.0  # type: ignore[union-attr]


def test_files_are_relative_to_the_problem(base_text: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    error = refused(write(base_text.replace("name: Llama-3.3-70B", "config: config.json")))
    assert error.file == str(tmp_path / "config.json")


def test_an_error_survives_a_process_border(write: Write) -> None:
    error = refused(write(b""))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
