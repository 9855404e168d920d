"""Coefficient files in a folder of the user's, as `llmopt calibrate` writes them.

A file counts for the accelerator and engine in its name, must say the same inside, and must have been fitted
with the catalog's numbers of the hardware: an efficiency is a fraction of those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmopt_problems import catalog
from llmopt_problems.hardware.spec import AcceleratorSpec


class CoefficientError(ValueError):
    """A coefficient file of the user's that cannot be used: which, why, what to do."""


def user_file(directory: Path, accelerator: str, engine: str) -> Mapping[str, Any]:
    """The entries by family in the file of this accelerator and engine; empty when there is none.

    Raises `CoefficientError` for a file that is no coefficient file, or one of other hardware.
    """
    path = directory / f"{accelerator}.{engine}.json"
    if not path.is_file():
        return {}
    content = _content(path)
    if (content.get("accelerator"), content.get("engine")) != (accelerator, engine):
        raise CoefficientError(
            f"{path}: fitted for another accelerator or engine than its name says; calibrate again"
        )
    if content.get("hardware") != hardware_entry(catalog.accelerator(accelerator)):
        raise CoefficientError(
            f"{path}: fitted with other hardware numbers than the catalog's; calibrate again"
        )
    families: Mapping[str, Any] = content["families"]
    return families


def hardware_entry(accelerator: AcceleratorSpec) -> dict[str, Any]:
    """The data-sheet numbers that the efficiencies are fractions of."""
    return {
        "peak_flops_per_s": dict(accelerator.peak_flops_per_s),
        "hbm_bytes_per_s": accelerator.hbm_bytes_per_s,
        "sm_count": accelerator.sm_count,
        "scale_up_bytes_per_s": accelerator.scale_up.bytes_per_s,
    }


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CoefficientError(f"{path}: cannot be read ({error}); calibrate again") from error
    if not isinstance(content, dict) or not isinstance(content.get("families"), dict):
        raise CoefficientError(f"{path}: is no coefficient file; write it with llmopt calibrate")
    return content
