"""The benchmark driver: rows of the promised shape, honest medians, plain refusals."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FIRST_ENTRIES = {
    "quickstart_solve",
    "import_time",
    "help_time",
    "step_law",
    "columns",
    "enumeration_agreement",
}


def drive(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_harness", BENCHMARKS / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_smoke_run_writes_rows(tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    done = drive("help_time", "--smoke", "--json", str(target))
    assert done.returncode == 0, done.stderr
    rows = json.loads(target.read_text())
    assert all(set(row) == {"name", "metric", "value", "unit", "baseline", "ratio"} for row in rows)
    by_metric = {row["metric"]: row for row in rows}
    assert set(by_metric) == {"seconds", "help_wall", "help_cpu", "peak_memory"}
    seconds = by_metric["seconds"]
    assert seconds["ratio"] == pytest.approx(seconds["value"] / seconds["baseline"])
    assert by_metric["peak_memory"]["value"] > 1e6


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    done = drive("no_such_benchmark")
    assert done.returncode == 2
    assert all(name in done.stderr for name in FIRST_ENTRIES)


def test_every_module_is_registered() -> None:
    modules = {path.stem for path in (BENCHMARKS / "entries").glob("*.py")} - {"__init__"}
    refused = drive("no_such_benchmark").stderr
    assert set(refused.split("known: ")[1].strip().split(", ")) == modules >= FIRST_ENTRIES


def test_medians_are_taken_over_runs_and_ratios_inside_them(harness: ModuleType) -> None:
    runs = [
        harness.Outcome(
            (harness.Figure("speed", value, "1/s", baseline),), (harness.Phase("all", wall, 0.5),)
        )
        for value, baseline, wall in ((10.0, 1.0, 3.0), (40.0, 2.0, 1.0), (30.0, 10.0, 2.0))
    ]
    speed, wall, cpu, memory = harness.rows("example", runs, [1.0, 3.0, 2.0])
    assert speed == {
        "name": "example",
        "metric": "speed",
        "value": 30.0,
        "unit": "1/s",
        "baseline": 2.0,
        "ratio": 10.0,  # the median of 10, 20 and 3; the ratio of the medians is 15
    }
    assert (wall["metric"], wall["value"], wall["baseline"]) == ("all_wall", 2.0, None)
    assert (cpu["value"], memory["value"]) == (0.5, 2.0)


def test_children_count_as_cpu_time(harness: ModuleType) -> None:
    busy = [sys.executable, "-c", "sum(range(10**6))"]
    _, phase = harness.timed("child", lambda: subprocess.run(busy, check=True))
    assert phase.cpu_s > 0
    assert phase.wall_s > 0
