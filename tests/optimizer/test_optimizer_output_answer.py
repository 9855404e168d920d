"""What Python callers get: an answer with frames, files and text, and a problem in words."""

import json
from pathlib import Path

import pytest

import llmopt
from llmopt_optimizer import loop
from llmopt_optimizer.answer import Answer
from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.output.record import read_document
from llmopt_optimizer.output.summary import problem_summary
from llmopt_optimizer.result import Estimate, Point, Result, Round, Status, Verdict
from llmopt_problems import load
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment


@pytest.fixture
def result() -> Result:
    pool = PoolDeployment("serve", "H200-SXM", Layout(tp=4), 2, 2048, 128)
    point = Point(
        Deployment("aggregated", (pool,)),
        predicted={"gpus": 8.0},
        simulated={"gpus": Estimate(8.0, 8.0, 8.0)},
        verdict=Verdict.VERIFIED,
        bound=8.0,
        gap=0.0,
    )
    rounds = (Round(1, 1, 1, 1, 0.0, 0.1, 0.2),)
    checks = (Check("re-evaluation", True, ""),)
    return Result(
        "q", Status.PROVEN, "", ("gpus",), ("minimize",), (point,), rounds=rounds, checks=checks, gap=0.0
    )


def test_solve_gives_frames_and_text(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "solve_problem", lambda problem, **_: result)
    answer = llmopt.solve(llmopt.load("quickstart"))
    assert isinstance(answer, Answer)
    assert answer.status is Status.PROVEN
    assert answer.best is result.front[0]
    assert answer.pareto.loc[0, "serve_instances"] == 2
    assert list(answer.metrics["metric"]) == ["gpus"]
    assert [len(table) for table in (answer.cut, answer.rounds, answer.checks)] == [0, 1, 1]
    assert "2 instances serving" in str(answer)


def test_an_answer_writes_its_problem_too(result: Result, tmp_path: Path) -> None:
    problem = load("quickstart", ["verification.seed=7"])
    written = Answer(problem, result).write(tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["pareto.csv", "result.json"]
    document = read_document(tmp_path / "new" / "folder")
    assert document.result == result
    assert document.problem["verification"] == {
        **problem.verification.model_dump(exclude_none=True),
        "seed": 7,
    }
    assert document.llmopt_version == llmopt.__version__


@pytest.mark.parametrize("example", ["quickstart", "deepseek_r1_h200", "prefix_trace"])
def test_every_bundled_problem_is_summed_up(example: str) -> None:
    problem = load(example)
    lines = problem_summary(problem).splitlines()
    assert len(lines) == 8
    assert problem.model.name is not None
    assert problem.model.name in lines[1]
    assert len(problem.slo) == 0 or "≤" in lines[4] or "≥" in lines[4]


def test_the_problem_in_a_result_loads_again(result: Result, tmp_path: Path) -> None:
    problem = load("quickstart")
    Answer(problem, result).write(tmp_path)
    asked = json.loads((tmp_path / "result.json").read_text())["problem"]
    (tmp_path / "again.json").write_text(json.dumps(asked))
    assert load(tmp_path / "again.json") == problem
