"""The installed package, wheel or editable: what it holds, and that importing is quiet. Needs no sources."""

import json
import os
import subprocess
import sys
from importlib.metadata import metadata, version
from importlib.resources import files
from pathlib import Path

import pytest

PACKAGES = ("llmopt_problems", "llmopt_calibration", "llmopt_simulator", "llmopt_optimizer")
EXAMPLES = ("quickstart", "deepseek_r1_h200", "prefix_trace")
HEAVY = ("numpy", "sympy", "pandas", "pyomo", "numba", "pydantic", "rich", "typer")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Away from the sources, and with warnings as errors, as in the rest of the suite.
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(sys.prefix),
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert files(package).joinpath("py.typed").is_file()


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_bundled_and_right(example: str) -> None:
    assert python("-m", "llmopt", "check", example).returncode == 0


def test_fitted_coefficients_are_bundled() -> None:
    program = "from llmopt_calibration.coefficients import fitted_pairs; print(fitted_pairs())"
    assert "('H200-SXM', 'sglang')" in python("-c", program).stdout


def test_importing_prints_nothing_and_loads_nothing_heavy() -> None:
    program = f"import llmopt, sys; assert not set({HEAVY}) & set(sys.modules), sorted(sys.modules)"
    done = python("-c", program)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("module", [*PACKAGES, "llmopt_optimizer.loop", "llmopt_optimizer.output.writing"])
def test_importing_a_room_prints_nothing(module: str) -> None:
    done = python("-c", f"import {module}")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_help_loads_nothing_heavy() -> None:
    # typer brings its own copy of pydantic in when a command has parameters; the top level must not.
    heavy = tuple(name for name in HEAVY if name not in ("typer",))
    program = (
        "import sys; from llmopt_optimizer.cli import main; sys.argv = ['llmopt', '--help']\n"
        f"try: main()\nexcept SystemExit: print(sorted(set({heavy}) & set(sys.modules)))"
    )
    assert python("-c", program).stdout.endswith("[]\n")


def test_the_facade_has_what_it_names() -> None:
    import llmopt

    assert llmopt.__version__ == version("llmopt")
    assert "Llama-3.3-70B" in llmopt.catalog.model_names()
    assert llmopt.load("quickstart").name == "quickstart"
    assert all(hasattr(llmopt, name) for name in llmopt.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = llmopt.nothing


def test_the_script_and_the_module_are_the_same_program() -> None:
    script = Path(sys.executable).parent / "llmopt"
    by_script = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert by_script == python("-m", "llmopt", "--version").stdout == f"llmopt {version('llmopt')}\n"


def test_the_schema_is_published() -> None:
    schema = json.loads(python("-m", "llmopt", "schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_the_license_is_declared() -> None:
    assert metadata("llmopt")["License-Expression"] == "Apache-2.0"
