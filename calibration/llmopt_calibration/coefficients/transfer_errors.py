"""How wrong coefficients are on an accelerator that they were not fitted on, by family and engine.

Measured by predicting every accelerator that has tables by every other one's coefficients; the files
`transfer/<engine>.json` are written by `llmopt calibrate` with several accelerators.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources


@cache
def transfer_errors(engine: str) -> dict[str, float]:
    """Median error of each family over all ordered pairs of accelerators."""
    file = resources.files(__package__).joinpath("transfer", f"{engine}.json")
    families = json.loads(file.read_text(encoding="utf-8"))["families"]
    return {name: float(entry["median_error"]) for name, entry in families.items()}
