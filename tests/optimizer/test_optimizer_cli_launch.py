"""`llmopt launch` from the shell: a stored result becomes a file, mistakes become messages."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from llmopt_optimizer.cli.app import app
from llmopt_optimizer.output.writing import write
from llmopt_optimizer.result import Estimate, Point, Result, Status, Verdict
from llmopt_problems import load
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment


def point(instances: int) -> Point:
    pool = PoolDeployment("serve", "H200-SXM", Layout(tp=4), instances, 2048, 128)
    simulated = {"gpus": Estimate(4.0 * instances, 4.0 * instances, 4.0 * instances)}
    return Point(Deployment("aggregated", (pool,)), {"gpus": 4.0 * instances}, simulated, Verdict.VERIFIED)


@pytest.fixture
def solved(tmp_path: Path) -> Path:
    result = Result("quickstart", Status.PROVEN, "", ("gpus",), ("minimize",), front=(point(1), point(2)))
    (tmp_path / "out").mkdir()
    write(result, load("quickstart"), tmp_path / "out")
    return tmp_path / "out"


def run(*arguments: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["launch", *arguments], catch_exceptions=False)
    return found.exit_code, found.stdout, found.stderr


def test_the_default_target_is_the_engine_of_the_problem(solved: Path) -> None:
    code, text, _ = run(str(solved))
    assert code == 0
    assert "python -m sglang.launch_server" in text
    assert "1 instance of 4 x H200-SXM" in text


def test_a_point_and_a_directory_can_be_chosen(solved: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    code, text, _ = run(str(solved), "--target", "kubernetes", "--point", "2", "--out", str(target))
    assert (code, text.strip()) == (0, str(target / "kubernetes.yaml"))
    objects = list(yaml.safe_load_all((target / "kubernetes.yaml").read_text()))
    assert objects[0]["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "slurm"), "give one of sglang, vllm, dynamo, llm-d, kubernetes"),
        (("--point", "3"), "the front has 2 deployments"),
        (("--engine-version", "0.1"), "in no inventory"),
    ],
)
def test_mistakes_are_messages(solved: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, message = run(str(solved), *arguments)
    assert code == 2
    assert said in message


def test_a_result_without_a_front_has_nothing_to_launch(tmp_path: Path) -> None:
    write(Result("quickstart", Status.INFEASIBLE, "", ("gpus",), ("minimize",)), load("quickstart"), tmp_path)
    code, _, message = run(str(tmp_path))
    assert (code, "no deployment to launch" in message) == (2, True)
