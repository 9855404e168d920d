"""Wall seconds of `llmopt --help`."""

from __future__ import annotations

from harness import Outcome
from launches import against_bare_python


def run(smoke: bool) -> Outcome:
    """`python -m llmopt --help`, which is what the `llmopt` script does."""
    return against_bare_python("help", "-m", "llmopt", "--help", smoke=smoke)
