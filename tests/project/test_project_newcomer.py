"""A newcomer's path: a wheel into a fresh environment, the problem file of the tutorial, a launch command.

Nothing of the sources is in reach: commands run in an empty folder with the new environment's own programs.
How long each step took is printed (`pytest -s`), not judged: machines differ.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
PROBLEM = re.findall(r"<!-- file: chat\.yaml -->\n```yaml\n(.*?)```", TUTORIAL, re.DOTALL)[0]
COMMANDS = re.findall(r"^llmopt (?:check|solve|launch) .*$", TUTORIAL, re.MULTILINE)[:3]


def test_the_problem_of_the_tutorial_has_fewer_than_fifteen_lines() -> None:
    assert 0 < len(PROBLEM.strip().splitlines()) < 15
    assert [shlex.split(command)[1] for command in COMMANDS] == ["check", "solve", "launch"]


@pytest.mark.slow
def test_from_install_to_a_launch_command(tmp_path: Path) -> None:
    def step(name: str, *command: str | Path, cwd: Path = tmp_path) -> str:
        start = time.monotonic()
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=False, cwd=cwd, env=clean
        )
        print(f"{name}: {time.monotonic() - start:.0f} s")
        assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr}"
        return done.stdout

    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean |= {"NO_COLOR": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    step("wheel", sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("llmopt-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    bin_folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    step("install", bin_folder / "python", "-m", "pip", "install", "-q", wheel)
    (tmp_path / "chat.yaml").write_text(PROBLEM, encoding="utf-8")
    printed = [step(words[1], bin_folder / words[0], *words[1:]) for words in map(shlex.split, COMMANDS)]
    assert "Recommended" in printed[1]
    assert "sglang.launch_server" in printed[2]
    assert "--model-path" in printed[2]
    written = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert {"report.html", "pareto.csv", "result.json"} <= written
