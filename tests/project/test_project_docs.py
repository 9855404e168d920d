"""Every code block of the pages: Python runs, commands are spelled as the command line has them and run in
the slow suite, YAML is a problem or a run that loads.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from llmopt_optimizer.cli.app import app
from llmopt_problems import load_any
from llmopt_problems.runs import load_run, problem_of

_PATH = Path(__file__).with_name("docs_blocks.py")


def _helper() -> ModuleType:
    import sys

    spec = spec_from_file_location("docs_blocks", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


DOCS = _helper()
PAGES = DOCS.pages()
RUN_ELSEWHERE = {"calibrate.md"}
"""Pages whose blocks a test of their own runs."""
QUICK = ["examples.md", "symbolic.md"]
SLOW = ["tutorial.md", "examples.md", "simulate.md", "graph.md"]


def page(name: str) -> Path:
    return next(each for each in PAGES if each.name == name)


@pytest.mark.parametrize("path", PAGES, ids=lambda each: f"{each.parent.name}/{each.name}")
def test_every_block_is_of_a_kind_that_is_tested(path: Path) -> None:
    known = {"sh", "python", "yaml"} | DOCS.OUTPUT
    assert {block.language for block in DOCS.blocks(path)} <= known


@pytest.mark.parametrize("path", PAGES, ids=lambda each: f"{each.parent.name}/{each.name}")
def test_commands_are_spelled_as_the_command_line_has_them(path: Path) -> None:
    group = get_command(app)
    for block in DOCS.blocks(path):
        for words in block.commands() if block.language == "sh" else []:
            if words[0] == "llmopt":
                _parsed(group, words[1:])


def _parsed(group: object, words: list[str]) -> None:
    """Raises what the command line would say of a wrong option or argument."""
    command = group
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        words = words[1:]
    with command.make_context("llmopt", list(words)) as context:
        assert context.args == []


def test_problems_of_the_pages_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (page("tutorial.md"), page("examples.md")):
        for block in DOCS.blocks(path):
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
                assert load_any(block.file).objectives


def test_metrics_of_ones_own_are_a_part_of_a_problem(tmp_path: Path) -> None:
    (block,) = (each for each in DOCS.blocks(page("own_metrics.md")) if each.language == "yaml")
    (whole,) = (each for each in DOCS.blocks(page("tutorial.md")) if each.file)
    merged = yaml.safe_load(whole.text) | yaml.safe_load(block.text)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(merged), encoding="utf-8")
    assert set(load_any(tmp_path / "own.yaml").metrics) == {"carbon", "carbon_per_token"}


def test_runs_of_the_pages_load(tmp_path: Path) -> None:
    found = [block for block in DOCS.blocks(page("simulate.md")) if block.language == "yaml"]
    assert len(found) > 1
    for block in found:
        (tmp_path / "run.yaml").write_text(block.text, encoding="utf-8")
        assert problem_of(load_run(tmp_path / "run.yaml")).model.name


def test_no_yaml_is_left_out() -> None:
    pages = {path.name for path in PAGES for block in DOCS.blocks(path) if block.language == "yaml"}
    assert pages <= {"simulate.md", "own_metrics.md", "tutorial.md", "examples.md", *RUN_ELSEWHERE}


def test_no_python_is_left_out() -> None:
    pages = {path.name for path in PAGES for block in DOCS.blocks(path) if block.language == "python"}
    assert pages <= {"README.md", *QUICK, *SLOW, *RUN_ELSEWHERE}


@pytest.mark.slow
def test_python_of_the_readme_runs() -> None:
    (block,) = (each for each in DOCS.blocks(DOCS.ROOT / "README.md") if each.language == "python")
    session: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.text, "README.md", "exec"), session)
    assert "Recommended" in printed.getvalue()


@pytest.mark.parametrize("name", QUICK)
def test_python_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(page(name), tmp_path, monkeypatch, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_everything_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(page(name), tmp_path, monkeypatch, slow=True)


def _run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, slow: bool) -> None:
    """The blocks of a page in order, in one folder and one Python session, as a reader would."""
    monkeypatch.chdir(folder)
    session: dict[str, object] = {}
    for block in DOCS.blocks(path):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python" and (slow or not block.slow):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, path.name, "exec"), session)
        elif block.language == "sh" and slow:
            for words in block.commands():
                done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
                assert (words[0], done.exit_code) == ("llmopt", 0), f"{words}: {done.output}"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("material") is None, reason="needs the extra docs")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    import subprocess
    import sys

    config = DOCS.ROOT / "docs/site/mkdocs.yml"
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(config),
        "-d",
        str(tmp_path / "s"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "s").rglob("*.html"))
    assert len(pages) > 40
    start = (tmp_path / "s/index.html").read_text(encoding="utf-8")
    for each in DOCS.ROOT.glob("docs/*.md"):
        assert f'href="{each.stem}/"' in start, f"{each.name} is not in the navigation"
    shown = (tmp_path / "s/reference/metrics/ttft/index.html").read_text(encoding="utf-8")
    assert "<math" in shown
    assert "merror" not in shown
    for each in pages:
        text = each.read_text(encoding="utf-8")
        assert 'src="http' not in text, f"{each} loads something from elsewhere"
    shutil.rmtree(tmp_path / "s")
