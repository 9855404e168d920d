"""Written models, read and solved by other programs: the same optimum, and the same deployment."""

from __future__ import annotations

import json
from pathlib import Path

import highspy
import pyomo.environ as pyo
import pytest
from optimizer_core_random import random_case
from pyscipopt import Model
from sympy import Max, Symbol
from typer.testing import CliRunner

from llmopt_optimizer.cli.app import app
from llmopt_optimizer.core.evaluation import evaluate
from llmopt_optimizer.core.export import Exported, ExportError, assignment_of, export_program
from llmopt_optimizer.core.program import Decision, Limit, Objective, Pool, Program, System, Variant
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import COLUMNS, solve

N, M, A, B, C, D = (Symbol(name, positive=True) for name in "nmabcd")
FORMATS = ("lp", "mps", "nl", "cip")


def two_pools(*limits: Limit) -> Program:
    values = tuple(range(1, 9))
    first = Pool("first", (Variant("v", (Decision(N, values),), {A: 3 * N, B: 7 / N}),))
    second = Pool("second", (Variant("v", (Decision(M, values),), {C: 2 * M, D: 5 / M}),))
    metrics = {"cost": A + C, "delay": Max(B, D) + B}
    return Program((System("s", (first, second), metrics),), (Objective("cost"),), limits)


def by_highs(path: Path) -> tuple[float, dict[str, float]]:
    highs = highspy.Highs()
    highs.silent()
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.run()
    lp, solution = highs.getLp(), highs.getSolution()
    return highs.getInfo().objective_function_value, dict(zip(lp.col_names_, solution.col_value, strict=True))


def by_scip(path: Path) -> tuple[float, dict[str, float]]:
    scip = Model()
    scip.hideOutput()
    scip.readProblem(str(path))
    scip.optimize()
    return scip.getObjVal(), {variable.name: scip.getVal(variable) for variable in scip.getVars()}


def checked(
    program: Program, exported: Exported, answer: tuple[float, dict[str, float]], *, names: bool
) -> None:
    expected = solve(program)
    assert expected.status is SolveStatus.OPTIMAL
    objective, chosen = answer
    assert objective / exported.scale == pytest.approx(expected.objective, rel=1e-7)
    if names:
        found = evaluate(program, assignment_of(exported, chosen))
        metric = program.objectives[0].metric
        assert float(found.metrics[metric]) == pytest.approx(expected.objective, rel=1e-9)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("limit", [2.0, 4.0, 12.0])
def test_other_solvers_find_the_same_optimum(tmp_path: Path, suffix: str, limit: float) -> None:
    program = two_pools(Limit("delay", "at_most", limit))
    exported = export_program(program, tmp_path / f"model.{suffix}")
    checked(program, exported, by_scip(exported.path), names=suffix != "nl")
    if suffix in ("lp", "mps"):
        checked(program, exported, by_highs(exported.path), names=True)
    assert [file.name for file in tmp_path.iterdir()] == [exported.path.name]


def test_random_programs_survive_the_journey(tmp_path: Path) -> None:
    solved = 0
    for seed in range(25):
        program = random_case(seed, most_objectives=1).program
        answer = solve(program, join_cells=-1)
        if answer.status is not SolveStatus.OPTIMAL or answer.route != COLUMNS:
            continue
        for suffix in FORMATS:
            exported = export_program(program, tmp_path / f"model{seed}.{suffix}")
            checked(program, exported, by_scip(exported.path), names=suffix != "nl")
        solved += 1
    assert solved >= 8


def test_nothing_is_written_where_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no feasible row"):
        export_program(two_pools(Limit("delay", "at_most", 0.1)), tmp_path / "model.lp")
    with pytest.raises(ExportError, match="no format"):
        export_program(two_pools(), tmp_path / "model.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model.nl"
    target.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pyo.ConcreteModel, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        export_program(two_pools(), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_command_writes_a_model_and_what_its_variables_mean(tmp_path: Path) -> None:
    target = tmp_path / "quickstart.mps"
    changes = ("search.modes=[disaggregated]", "search.instances={choices: [1, 2, 4]}")
    arguments = [part for change in changes for part in ("--set", change)]
    result = CliRunner().invoke(app, ["export", "quickstart", "--out", str(target), *arguments])
    assert result.exit_code == 0, result.output
    meaning = json.loads((tmp_path / "quickstart.rows.json").read_text())
    objective, chosen = by_highs(target)
    named = [
        meaning["variables"][name]
        for name, value in chosen.items()
        if value > 0.5 and name in meaning["variables"]
    ]
    assert [each["pool"] for each in named] == ["prefill", "decode"]
    assert objective / meaning["scale"] > 0
    assert meaning["metric"] == "cost_per_million_output_tokens"
