"""The command line: exit codes, messages instead of tracebacks, plain output, closed pipes and interrupts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner
from typer.testing import Result as Run

import llmopt_optimizer.loop as loop
from llmopt_optimizer.cli.app import app
from llmopt_optimizer.cli.outcome import ExitCode, InputError, exit_code
from llmopt_optimizer.result import Estimate, Point, Result, Status, Verdict
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_simulator import read_requests

COMMAND = (sys.executable, "-m", "llmopt")
PLAIN = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}


def run(*arguments: str) -> Run:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=PLAIN, timeout=60, check=False, **options
    )


def answer(status: Status) -> Result:
    pool = PoolDeployment("serve", "H200-SXM", Layout(tp=4), 2, 2048, 128)
    found = Point(
        Deployment("aggregated", (pool,)),
        predicted={"gpus": 8.0},
        simulated={"gpus": Estimate(8.0, 8.0, 8.0)},
        verdict=Verdict.VERIFIED,
    )
    front = (found,) if status in (Status.PROVEN, Status.FEASIBLE) else ()
    return Result("quickstart", status, "because", ("gpus",), ("minimize",), front=front)


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> Callable[[Status], list[Problem]]:
    """Replace the solve by one that answers with a given status; gives the problems it was asked."""
    asked: list[Problem] = []

    def answering(status: Status) -> list[Problem]:
        def solve_problem(problem: Problem, **_: object) -> Result:
            asked.append(problem)
            return answer(status)

        monkeypatch.setattr(loop, "solve_problem", solve_problem)
        return asked

    return answering


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.PROVEN, 0), (Status.FEASIBLE, 0), (Status.INFEASIBLE, 3), (Status.FAILED, 1)],
)
def test_each_status_has_its_exit_code(
    solver: Callable[[Status], list[Problem]], status: Status, code: int, tmp_path: Path
) -> None:
    solver(status)
    assert run("solve", "quickstart", "--out", str(tmp_path / "out"), "--quiet").exit_code == code


def test_a_failed_solve_leaves_earlier_results(
    solver: Callable[[Status], list[Problem]], tmp_path: Path
) -> None:
    solver(Status.PROVEN)
    run("solve", "quickstart", "--out", str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert set(before) == {"pareto.csv", "result.json", "report.html"}
    solver(Status.FAILED)
    failed = run("solve", "quickstart", "--out", str(tmp_path))
    assert failed.exit_code == 1
    assert "failed: because" in failed.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_solve_prints_the_table_or_the_document(solver: Callable[[Status], list[Problem]]) -> None:
    solver(Status.PROVEN)
    assert "Recommended" in run("solve", "quickstart").stdout
    document = json.loads(run("solve", "quickstart", "--json").stdout)
    assert document["schema_version"] == 2
    assert document["problem"]["name"] == "quickstart"
    assert document["result"]["front"][0]["deployment"]["pools"][0]["instances"] == 2


def test_quiet_prints_nothing(solver: Callable[[Status], list[Problem]]) -> None:
    solver(Status.PROVEN)
    done = run("solve", "quickstart", "--quiet")
    assert (done.stdout, done.stderr) == ("", "")


def test_options_change_the_problem(solver: Callable[[Status], list[Problem]]) -> None:
    asked = solver(Status.PROVEN)
    run("solve", "quickstart", "--set", "slo.0.at_most=3 s", "--seed", "7", "--time-limit", "90 s")
    assert asked[0].slo[0].value == 3.0
    assert asked[0].verification.seed == 7
    assert asked[0].limits.time_s == 90.0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("solve", "no_such.yaml"), "no_such.yaml"),
        (("check", "no_such.yaml"), "no_such.yaml"),
        (("check", "quickstart", "--set", "slo.0.at_most=2"), "unit"),
        (("check", "quickstart", "--set", "sloo=2"), "unknown key"),
        (("check", "quickstart", "--set", "nothing"), "--set nothing"),
        (("solve", "quickstart", "--time-limit", "60"), "unit"),
        (("solve", "quickstart", "--parallel", "spark"), "no place for workers"),
        (("simulate", "quickstart", "--deployment", "tp=4,pp"), "'pp' is not key=value"),
        (("simulate", "quickstart", "--deployment", "nothing.json"), "nothing.json"),
        (("simulate", "quickstart", "--deployment", "tp=0"), "layout.tp"),
        (("simulate", "quickstart", "--deployment", "tp=four"), "layout.tp"),
        (("simulate", "quickstart", "--deployment", "typo=4"), "typo"),
        (
            ("simulate", "quickstart", "--deployment", "prefill.tp=4"),
            "has the pools serve, not prefill",
        ),
        (("simulate", "quickstart", "--deployment", "{bad"), "--deployment"),
        (("simulate", "quickstart", "--deployment", '{"pools": 3}'), "pools must be a list"),
        (("simulate", "quickstart"), "--deployment"),
        (("catalog", "modles"), "modles"),
        (("solve",), "PROBLEM"),
        (("nonsense",), "nonsense"),
        (("solve", "quickstart", "--seed", "-1"), "seed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_end_with_code_2_and_a_message(arguments: tuple[str, ...], expected: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_an_unwritable_directory_is_known_before_the_solve(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("solve", "quickstart", "--out", str(tmp_path / "file"))
    assert done.exit_code == 2
    assert "file: cannot be written to" in done.stderr


def test_an_internal_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> ExitCode:
        raise ZeroDivisionError("division by zero")

    assert exit_code(broken, debug=False) is ExitCode.FAILED
    message = capsys.readouterr().err
    assert message.startswith("internal error: ZeroDivisionError: division by zero (please report")
    assert message.count("\n") == 1
    with pytest.raises(ZeroDivisionError):
        exit_code(broken, debug=True)


def test_an_interrupt_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> ExitCode:
        raise KeyboardInterrupt

    assert exit_code(interrupted, debug=False) == 130
    assert "earlier results are as they were" in capsys.readouterr().err


def test_a_users_mistake_is_told_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    def mistaken() -> ExitCode:
        raise InputError("--deployment: nothing given")

    assert exit_code(mistaken, debug=True) is ExitCode.BAD_INPUT
    assert capsys.readouterr().err == "error: --deployment: nothing given\n"


def test_a_closed_pipe_is_silent() -> None:
    with subprocess.Popen(
        [*COMMAND, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=PLAIN
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == ExitCode.CLOSED_PIPE


def test_the_program_runs_as_a_module() -> None:
    assert process("--version").stdout.startswith("llmopt ")
    assert "Exit codes: 0 solved, 1 failed, 2 bad input, 3 infeasible" in process("--help").stdout


@pytest.mark.parametrize(("word", "expected"), [("so", "solve"), ("simu", "simulate")])
def test_the_shell_completes_commands(word: str, expected: str) -> None:
    shell = {"_LLMOPT_COMPLETE": "complete_bash", "COMP_WORDS": f"llmopt {word}", "COMP_CWORD": "1"}
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, env={**PLAIN, **shell}, timeout=60, check=False
    )
    assert done.stdout.split() == [expected]


def test_schema_and_check_describe_the_bundled_example() -> None:
    assert json.loads(run("schema").stdout)["title"] == "Problem"
    summary = run("check", "quickstart").stdout
    assert "Llama-3.3-70B" in summary
    assert "p95 TTFT ≤ 2.00 s" in summary


def test_the_catalog_is_listed_in_text_and_json() -> None:
    assert "H200-SXM" in run("catalog", "accelerators").stdout
    listed = json.loads(run("catalog", "--json").stdout)
    assert set(listed) == {"models", "accelerators", "links"}
    assert any(entry["name"] == "Llama-3.3-70B" for entry in listed["models"])


QUICK = ("--set", "verification.requests=200", "--set", "verification.replications=2")


def test_a_simulated_deployment_is_a_strict_document(tmp_path: Path) -> None:
    target = tmp_path / "simulation.json"
    spelled = "tp=4,instances=2,chunk_tokens=2048,batch_cap=128"
    printed = run("simulate", "quickstart", "--deployment", spelled, *QUICK)
    written = run("simulate", "quickstart", "--deployment", spelled, *QUICK, "--out", str(target))
    assert (printed.exit_code, written.exit_code, written.stdout) == (0, 0, "")
    assert target.read_text() == printed.stdout  # the same seed gives the same bytes
    document = json.loads(printed.stdout)
    simulation = document["simulation"]
    assert document["schema_version"] == 2
    assert simulation["deployment"]["pools"][0]["layout"] == asdict(Layout(tp=4))
    assert simulation["metrics"]["ttft_p95_s"]["value"] > 0
    assert simulation["metrics"]["gpus"]["value"] == 8


def test_a_seed_changes_the_simulation() -> None:
    arguments = ("simulate", "quickstart", "--deployment", "tp=4,instances=2", *QUICK)
    assert run(*arguments).stdout != run(*arguments, "--seed", "2").stdout


def test_a_simulation_can_be_looked_at(tmp_path: Path) -> None:
    """Timeline, requests and series are of one run; a file that cannot be is refused before it starts."""
    files = {name: tmp_path / f"{name}{suffix}" for name, suffix in LOOKS.items()}
    asked = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    done = run("simulate", "quickstart", "--deployment", "tp=4,instances=2", *QUICK, *asked)
    assert done.exit_code == 0, done.stderr
    requests, series = read_requests(files["requests"]), pd.read_csv(files["series"])
    assert requests["served"].all()
    assert json.loads(files["timeline"].read_text())["traceEvents"]
    assert series.shape[0] == 100
    for name in ("sglang", "vllm"):
        assert json.loads(files[name].read_text())["model_id"] == "meta-llama/Llama-3.3-70B-Instruct"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files.values())
    refused = run("simulate", "quickstart", "--deployment", "tp=4", "--series", "series.txt")
    assert refused.exit_code == 2
    assert ".csv" in refused.stderr


LOOKS = {"timeline": ".json", "requests": ".csv", "series": ".csv", "sglang": ".jsonl", "vllm": ".json"}


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [("tp=3", "tp"), ("tp=1,accelerator=B200", "B200"), ("tp=2,dp=4", "dp")],
)
def test_an_impossible_deployment_is_refused(deployment: str, expected: str) -> None:
    done = run("simulate", "quickstart", "--deployment", deployment)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert done.stdout == ""


def test_an_import_is_a_problem_that_says_what_it_assumes(tmp_path: Path) -> None:
    source, target = tmp_path / "start.sh", tmp_path / "problem.yaml"
    source.write_text("vllm serve Qwen/Qwen3-32B --tensor-parallel-size 2")
    given = ("hardware.accelerators.0.name=H200-SXM", *(f"traffic.{each}={LENGTH}" for each in LENGTH_KEYS))
    sets = [part for each in given for part in ("--set", each)]
    done = run("import", str(source), "--out", str(target), *sets)
    assert done.exit_code == 0, done.stderr
    assert "assumed traffic.arrivals.rate: 1 req/s" in done.stderr
    assert "--deployment tp=2" in done.stderr
    assert run("check", str(target)).exit_code == 0
    before = target.read_text()
    refused = run("import", str(source), "--out", str(target))
    assert (refused.exit_code, target.read_text()) == (2, before)
    assert "--set traffic.input_tokens=" in refused.stderr
    assert run("import", str(source), "--format", "nonsense").exit_code == 2


LENGTH, LENGTH_KEYS = "{distribution: constant, value: 500}", ("input_tokens", "output_tokens")
