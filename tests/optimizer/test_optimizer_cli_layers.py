"""`llmopt layers`: a table, CSV and JSON of the same budget; mistakes become messages."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from llmopt_optimizer.cli.app import app

BASE = ("layers", "Llama-3.1-8B", "--accelerator", "H200-SXM")


def run(*arguments: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, [*BASE, *arguments], catch_exceptions=False)
    return found.exit_code, found.stdout, found.stderr


def test_one_state_shows_every_operator() -> None:
    code, text, _ = run("--batch", "16", "--tp", "2")
    assert code == 0
    assert "16 decodes at 4,096 tokens of context" in text
    assert "layers 1-32" in text
    assert "lm_head" in text


def test_a_grid_shows_one_row_a_state_and_csv_every_operator(tmp_path: Path) -> None:
    file = tmp_path / "new" / "budget.csv"
    code, text, _ = run("--batch", "1,64", "--context", "100,1000", "--csv", str(file))
    frame = pd.read_csv(file)
    assert code == 0
    assert len(frame[["batch", "context_tokens"]].drop_duplicates()) == 4
    assert (frame["total_s"] == frame["count"] * frame["seconds"]).all()
    assert text.count("layers 1-32") == 4


def test_json_carries_the_same_numbers() -> None:
    _, text, _ = run("--batch", "8", "--json")
    [document] = json.loads(text)
    assert document["step_s"] == pytest.approx(sum(each["total_s"] for each in document["operators"]))
    assert document["state"] == {"batch": 8, "context_tokens": 4096, "prefill_tokens": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--batch", "many"), "give whole numbers"),
        (("--batch", "0"), "needs decode sequences"),
        (("--weights", "fp3"), "give one of bf16"),
        (("--ep", "2"), "cannot be split so"),
    ],
)
def test_mistakes_are_messages(arguments: tuple[str, ...], said: str) -> None:
    code, _, message = run(*arguments)
    assert (code, said in message) == (2, True)
