"""Problem files that tests write, change and load."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # helper modules (`problems_*`) under importlib mode
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")

BASE = """\
kind: deployment
model: {name: Llama-3.3-70B, weights: fp8}
hardware:
  accelerators:
    - {name: H200-SXM, count: 16, price: "3.50 USD/h"}
traffic:
  arrivals: {process: poisson, rate: "6 req/s"}
  input_tokens: {distribution: constant, value: 4000}
  output_tokens: {distribution: constant, value: 500}
slo:
  - {metric: ttft, statistic: p95, at_most: "2 s"}
objectives:
  - {minimize: gpus}
"""


@pytest.fixture
def base_text() -> str:
    """A small valid problem."""
    return BASE


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes a problem file and gives its path."""

    def to_file(content: str | bytes) -> Path:
        path = tmp_path / "problem.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


@pytest.fixture(scope="session")
def real_traces() -> Path:
    """Folder of the published traces, which are not shipped."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "traces"
    if not folder.is_dir():
        pytest.skip("the published traces are not on this machine")
    return folder
