"""An accelerator that the catalog does not have, described by its user in a YAML file for calibration.

Keys: `name`, `peak_flops_per_s` (a number for each arithmetic, bf16 at least), `hbm_bytes_per_s`, `sm_count`,
and the catalog's names of its links, `scale_up` and `network`, where they are not PCIe 4 and 100 Gb Ethernet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmopt_calibration.sources.errors import SourceError
from llmopt_problems import catalog
from llmopt_problems.errors import ProblemError
from llmopt_problems.hardware.spec import AcceleratorSpec, LinkSpec

REQUIRED = ("name", "peak_flops_per_s", "hbm_bytes_per_s", "sm_count")
LINKS = {"scale_up": "PCIe4-x16", "network": "Ethernet-100"}
REMEDY = f"write {', '.join(REQUIRED)} and, if wanted, {', '.join(LINKS)}"


def read_hardware(path: Path) -> AcceleratorSpec:
    """The accelerator described in `path`, with those facts that laws read.

    Raises `SourceError`, which names what is wrong.
    """
    entry = _entry(path)
    peaks = entry["peak_flops_per_s"]
    if not isinstance(peaks, Mapping) or "bf16" not in peaks:
        raise SourceError(path, "peak_flops_per_s has no bf16", "write the dense peak of each arithmetic")
    links = {name: _link(path, str(entry.get(name, default))) for name, default in LINKS.items()}
    return AcceleratorSpec(
        name=str(entry["name"]),
        peak_flops_per_s={str(key): _number(path, f"peak {key}", peak) for key, peak in peaks.items()},
        hbm_bytes=math.nan,
        hbm_bytes_per_s=_number(path, "hbm_bytes_per_s", entry["hbm_bytes_per_s"]),
        sm_count=int(_number(path, "sm_count", entry["sm_count"])),
        idle_watts=math.nan,
        peak_watts=math.nan,
        gpus_per_node=1,
        scale_up=links["scale_up"],
        scale_up_gpus=1,
        network=links["network"],
        host=links["scale_up"],
        sources=dict.fromkeys(REQUIRED, path.name),
    )


def _entry(path: Path) -> Mapping[str, Any]:
    try:
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(path, f"cannot be read ({error.strerror or error})", "check the path") from error
    except yaml.YAMLError as error:
        raise SourceError(path, f"is no YAML ({error})", REMEDY) from error
    if not isinstance(entry, Mapping):
        raise SourceError(path, "describes no accelerator", REMEDY)
    missing = [name for name in REQUIRED if name not in entry]
    unknown = [str(name) for name in entry if name not in (*REQUIRED, *LINKS)]
    if missing or unknown:
        what = f"missing keys: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        raise SourceError(path, what, REMEDY)
    return entry


def _number(path: Path, name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise SourceError(
            path, f"{name} is {value!r}", "write a positive number in SI units, such as 9.89e+14"
        )
    return number


def _link(path: Path, name: str) -> LinkSpec:
    try:
        return catalog.link(name)
    except ProblemError as error:
        raise SourceError(path, f"link {name!r} is not in the catalog", "see llmopt catalog links") from error
