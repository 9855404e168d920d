"""Equal seeds give equal bytes in any process, with any number of workers, hash seed and version of Python.

LLMOPT_PYTHONS may name further interpreters that have the packages, separated as PATH is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from random_systems.digests import digest

ROOT = Path(__file__).parents[2]
SOURCES = ("problems", "calibration", "simulator", "optimizer", "benchmarks")
CASES = 60
INTERPRETERS = [name for name in os.environ.get("LLMOPT_PYTHONS", "").split(os.pathsep) if name]


def digest_in(interpreter: str, workers: int = 1, hash_seed: str = "0") -> str:
    """What `benchmarks/digest.py` prints there."""
    paths = os.pathsep.join(str(ROOT / source) for source in SOURCES)
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
    script = str(ROOT / "benchmarks" / "digest.py")
    command = [interpreter, script, "--cases", str(CASES), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"{interpreter} lacks a package: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def here() -> str:
    return digest(range(CASES), workers=1)


@pytest.mark.parametrize(("workers", "hash_seed"), [(1, "0"), (2, "12345")])
def test_processes_workers_and_hash_seeds(here: str, workers: int, hash_seed: str) -> None:
    assert digest_in(sys.executable, workers, hash_seed) == here


def test_other_cases_have_another_digest(here: str) -> None:
    assert digest(range(1, CASES + 1), workers=1) != here


@pytest.mark.slow
def test_versions_of_python(here: str) -> None:
    """Each may compile the kernel first."""
    if not INTERPRETERS:
        pytest.skip("LLMOPT_PYTHONS names no other interpreter")
    found = {interpreter: digest_in(interpreter) for interpreter in INTERPRETERS}
    assert set(found.values()) == {here}, found
