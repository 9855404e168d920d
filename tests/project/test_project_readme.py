"""The README's commands, CI and the code cannot drift apart."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci/run").read_text(encoding="utf-8")
LOCAL_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def readme_command(name: str) -> str:
    """The command under `<!-- ci: NAME -->`, found here by other means than in `.ci/run`."""
    found = re.findall(rf"<!-- ci: {name} -->\n```sh\n(.+)\n```\n", README)
    assert len(found) == 1, f"README has no single-line command {name}"
    return str(found[0])


@pytest.mark.parametrize("name", ["test", "quickstart"])
def test_ci_runs_the_commands_of_the_readme(name: str) -> None:
    function = re.search(r"^readme_command\(\) \{\n.*?^\}\n", CI, re.MULTILINE | re.DOTALL)
    assert function is not None
    script = f"repository={shlex.quote(str(ROOT))}\n{function[0]}readme_command {name}"
    extracted = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert extracted == readme_command(name) + "\n"
    assert f'"$(readme_command {name})"' in CI


def test_the_commands_install_and_do_what_the_readme_says() -> None:
    assert readme_command("test").endswith(".venv/bin/pytest")
    assert "pip install . " in readme_command("quickstart")
    assert "llmopt solve quickstart --out out/quickstart" in readme_command("quickstart")


def test_ci_is_an_executable_bash_script() -> None:
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/*.md")), ids=lambda path: path.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LOCAL_LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("room", ["problems", "calibration", "simulator", "optimizer", "benchmarks"])
def test_every_room_has_a_readme(room: str) -> None:
    assert (ROOT / room / "README.md").read_text(encoding="utf-8").startswith("# ")


def test_the_wheel_takes_every_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    packages = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("*/llmopt_*/__init__.py")}
    assert set(included) == packages | {"optimizer/llmopt.py"}
