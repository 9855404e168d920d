"""A Hugging Face `config.json` as the beginning of a problem: the model is known, the rest is asked for."""

from __future__ import annotations

from typing import Any

from .draft import Assumed, Draft, Missing, Said, Tree
from .parts import ACCELERATOR, OBJECTIVES, RATE, hardware

LENGTHS = Missing('"{distribution: constant, value: 500}"')


def read(document: dict[str, Any], source: str, part: str | None) -> Draft:
    """The problem around the model at the path `source`."""
    arrivals: dict[str, Tree] = {"process": Assumed("poisson", "the file has no load"), "rate": RATE}
    return Draft(
        {
            "kind": Said("deployment"),
            "name": Said(str(document.get("model_type") or "model")),
            "model": {"config": Said(source)},
            "hardware": hardware(ACCELERATOR),
            "traffic": {"arrivals": arrivals, "input_tokens": LENGTHS, "output_tokens": LENGTHS},
            "objectives": OBJECTIVES,
        }
    )
