"""The page on calibrating one's own GPU: its files, commands and program do what it says."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmopt_calibration.laws import law
from llmopt_calibration.profiling.table import MEASURED_FAMILIES
from llmopt_calibration.sources.hardware_file import read_hardware
from llmopt_optimizer.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs/calibrate.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[list[str]]:
    """The arguments of every line of a shell block that calls `llmopt NAME`."""
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    return [words[1:] for words in lines if words[:2] == ["llmopt", name]]


def test_the_example_is_calibrated_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (table,), (program,), (arguments,) = blocks("csv"), blocks("python"), commands("calibrate")
    Path("copies.csv").write_text(table, encoding="utf-8")
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert Path("coefficients/H200-SXM.sglang.json").is_file()
    assert Path("coefficients/H200-SXM.sglang.html").is_file()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "calibrate.md", "exec"), {})
    assert re.fullmatch(r"measured my benchmark , copies\.csv \d+\.\d%\n", printed.getvalue())


def test_commands_that_need_a_machine_are_spelled_as_the_command_line_has_them() -> None:
    for name in ("profile", "solve"):
        (arguments,) = commands(name)
        help_text = CliRunner().invoke(app, [name, "--help"]).output
        assert all(word in help_text for word in arguments if word.startswith("--"))


def test_the_description_of_hardware_is_read(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    path = tmp_path / "gpu.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_hardware(path).scale_up.name == "NVLink4"


def test_the_table_of_families_names_the_sizes_of_their_laws() -> None:
    told = dict(re.findall(r"^\| ([^|]*`\w+`[^|]*) \| (`[^|]+) \|$", PAGE, re.MULTILINE))
    sizes = {
        family: set(re.findall(r"`(\w+)`", columns))
        for families, columns in told.items()
        for family in re.findall(r"`(\w+)`", families)
    }
    assert set(MEASURED_FAMILIES) <= set(sizes)
    for family, names in sizes.items():
        assert names == {symbol.name for symbol in law(family).shape}, family


def test_the_table_of_transfers_is_the_shipped_one() -> None:
    file = resources.files("llmopt_calibration.coefficients").joinpath("transfer", "sglang.json")
    families = json.loads(file.read_text(encoding="utf-8"))["families"]
    told = dict(re.findall(r"^\| `(\w+)` \| [\d.]+% \| ([\d.]+)% \|", PAGE, re.MULTILINE))
    assert set(told) == set(families)
    for family, percent in told.items():
        assert float(percent) / 100 == pytest.approx(families[family]["median_error"], abs=6e-4)
