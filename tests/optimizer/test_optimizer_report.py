"""The report: words and numbers are those of the result, it loads in a browser, and nothing is fetched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmopt_optimizer.cli.app import app
from llmopt_optimizer.core.findings import Check, Relaxation
from llmopt_optimizer.loop import simulate_problem
from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.output.writing import write
from llmopt_optimizer.report.page import report_text
from llmopt_optimizer.report.what_if import gpu_steps, level_steps
from llmopt_optimizer.result import Point, Result, Round, Status, Verdict
from llmopt_problems import Problem, load
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OBJECTIVES = ("cost_per_million_output_tokens", "tpot_p95_s")


def small() -> Problem:
    return load("quickstart", ("verification.requests=200", "verification.replications=2", "name=a <b> & c"))


def point(tp: int, instances: int, problem: Problem) -> Point:
    pool = PoolDeployment("serve", "H200-SXM", Layout(tp), instances, 2048, 64)
    found = simulate_problem(problem, Deployment("aggregated", (pool,)))
    simulated = found.metrics
    predicted = {name: each.value * 1.01 for name, each in simulated.items()}
    return Point(
        found.deployment, predicted, simulated, Verdict.VERIFIED, binding=("p95 TPOT",), bound=1.9, gap=0.0
    )


@pytest.fixture(scope="module")
def problem() -> Problem:
    return small()


@pytest.fixture(scope="module")
def result(problem: Problem) -> Result:
    front = (point(2, 4, problem), point(4, 3, problem))
    refused = replace(point(2, 3, problem), verdict=Verdict.VIOLATED, violated=("p95 TTFT ≤ 2.00 s",))
    return Result(
        problem.name, Status.PROVEN, "Nothing <better>.", OBJECTIVES, ("minimize", "minimize"),
        front=front, cut=(refused,), rounds=(Round(1, 3, 3, 2, 0.1, 0.5, 0.5),),
        checks=(Check("a check", True, "fine"),),
        provenance={"H200-SXM/gemm_fp8": "measured, held-out error 10%: a table"},
        space_size=1000, seconds=12.0, gap=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(result: Result, problem: Problem) -> str:
    return report_text(result, problem)


def without_library(page: str) -> str:
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_says_what_the_result_says(page: str, result: Result) -> None:
    text = without_library(page)
    for name in OBJECTIVES:
        assert fmt.metric_value(name, result.front[0].simulated[name].value) in text
    for sentence in fmt.deployment_sentences(result.front[0].deployment):
        assert sentence in text
    assert "Nothing &lt;better&gt;." in text
    assert "a &lt;b&gt; &amp; c" in text
    assert "<b> & c" not in text
    assert all(heading in text for heading in ("Recommended", "What if", "A simulated minute", "Reproduce"))


def test_the_page_is_small_and_fetches_nothing(page: str) -> None:
    assert len(page.encode()) < 6 * 2**20
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", without_library(page))


def test_every_plot_has_finite_data(page: str) -> None:
    plots = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.DOTALL)
    assert len(plots) >= 10
    for text in plots:
        figure = json.loads(text)
        assert figure["data"]
        assert any(value is not None for trace in figure["data"] for value in trace["x"])


def test_an_infeasible_result_says_what_would_be_enough(problem: Problem) -> None:
    relaxation = Relaxation("p95 TTFT", 2.0, 3.5, "s")
    infeasible = Result(
        problem.name, Status.INFEASIBLE, "No way.", OBJECTIVES, ("minimize", "minimize"),
        conflicts=("p95 TTFT ≤ 2 s", "p95 TPOT ≤ 40 ms"), relaxations=(relaxation,),
    )  # fmt: skip
    text = without_library(report_text(infeasible, problem))
    assert "No deployment" in text
    assert "3.50 s" in text
    assert "These cannot hold together" in text


def test_what_if_steps_are_the_best_of_what_was_simulated(result: Result, problem: Problem) -> None:
    points = (*result.front, *result.cut)
    levels = {level.key: level.value for level in problem.slo}
    for steps in level_steps(result, problem):
        (other,) = (key for key in levels if key != steps.metric)
        for limit, best in zip(steps.limits, steps.best, strict=True):
            allowed = [
                each.simulated[steps.objective].value
                for each in points
                if each.simulated[other].value <= levels[other]
                and each.simulated[steps.metric].value <= limit
            ]
            assert best == min(allowed)
    gpus = gpu_steps(result, problem)
    assert gpus.limits[0] == min(each.deployment.gpus for each in result.front)


def test_the_command_writes_beside_the_result(result: Result, problem: Problem, tmp_path: Path) -> None:
    write(result, problem, tmp_path)
    run = CliRunner().invoke(app, ["report", str(tmp_path)], catch_exceptions=False)
    assert run.exit_code == 0
    assert "Recommended" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_draws_every_plot_without_errors(page: str, width: int, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    )
    run = subprocess.run(
        [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--virtual-time-budget=10000", f"--window-size={width},2000",
         "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    drawn = len(re.findall(r'class="plot-container', run.stdout))
    assert drawn == page.count("data-plot=") > 0
    assert [line for line in run.stderr.splitlines() if "CONSOLE" in line] == []
