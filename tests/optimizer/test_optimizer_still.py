"""`--plot`: the front as PNG and SVG, the same data as the report's plot, nothing fetched, stable bytes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

import llmopt_optimizer.loop as loop
from llmopt_optimizer.cli import solving
from llmopt_optimizer.cli.app import app
from llmopt_optimizer.report.figures.front import front
from llmopt_optimizer.report.still import pictures
from llmopt_optimizer.result import Estimate, Point, Result, Status, Verdict
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment

COST, TPOT = "cost_per_hour", "tpot_p95_s"


def point(instances: int, tpot_s: float, verdict: Verdict, high: float = 1.1) -> Point:
    pool = PoolDeployment("serve", "H200-SXM", Layout(tp=4), instances, 2048, 128)
    cost = 14.0 * instances
    simulated = {
        COST: Estimate(cost, cost, cost),
        TPOT: Estimate(tpot_s, 0.9 * tpot_s, high * tpot_s),
    }
    return Point(Deployment("aggregated", (pool,)), {COST: cost, TPOT: 0.95 * tpot_s}, simulated, verdict)


@pytest.fixture
def result() -> Result:
    verified = (point(1, 0.03, Verdict.VERIFIED), point(2, 0.02, Verdict.VERIFIED))
    refused = (point(3, 0.05, Verdict.VIOLATED, high=float("inf")),)
    return Result(
        "toy", Status.PROVEN, "", (COST, TPOT), ("minimize", "minimize"), front=verified, cut=refused
    )


def test_pictures_hold_every_marker_and_are_the_same_each_time(result: Result) -> None:
    figure = front(result)
    drawn = pictures(figure, "toy")
    assert drawn == pictures(figure, "toy")
    assert drawn["png"].startswith(b"\x89PNG\r\n")
    tree = ET.fromstring(drawn["svg"])
    links = [v for e in tree.iter() for k, v in e.attrib.items() if k.endswith("href")]
    assert all(link.startswith("#") for link in links)
    text = drawn["svg"].decode()
    comments = re.findall(r"<!-- (.*?) -->", text)  # matplotlib writes drawn text beside its glyphs
    assert {"toy", "verified", "refused by simulation", "predicted by the formulas"} <= set(comments)
    assert "p95 TPOT (ms)" in comments


def test_solve_writes_them_beside_the_result(
    result: Result, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loop, "solve_problem", lambda problem, **_: result)
    arguments = ["solve", "quickstart", "--plot", "--no-report", "--quiet"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "front.png").read_bytes() == pictures(front(result), "toy")["png"]
    assert (tmp_path / "front.svg").stat().st_size > 5000


def test_what_is_missing_is_said_before_the_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loop, "solve_problem", lambda *_, **__: pytest.fail("searched"))
    homeless = CliRunner().invoke(app, ["solve", "quickstart", "--plot"])
    assert (homeless.exit_code, "--out" in homeless.stderr) == (2, True)
    monkeypatch.setattr(solving, "find_spec", lambda name: None)
    bare = CliRunner().invoke(app, ["solve", "quickstart", "--plot", "--out", str(tmp_path)])
    assert bare.exit_code == 2
    assert "pip install 'llmopt[plot]'" in bare.stderr
