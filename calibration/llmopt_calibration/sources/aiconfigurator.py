"""Where the operator tables of the PyPI package `aiconfigurator-core` lie, and how one is opened.

Layout: `systems/data/<system>/<operator>/<engine>/<version>/<table>.parquet` below the package. Times are
milliseconds except in the expert all-to-all tables (microseconds). Apache-2.0; measured by NVIDIA.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.measurements import Provenance, sha256_of

PACKAGE = "aiconfigurator_core"
SYSTEMS = {
    "H100-SXM": "h100_sxm",
    "H200-SXM": "h200_sxm",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "GB200": "gb200",
    "GB300": "gb300",
}
"""Catalog name of an accelerator to the package's name of the system."""
VERSIONS = {"sglang": "0.5.14", "vllm": "0.24.0", "trtllm": "1.3.0rc20", "nccl": "2.29.2"}
"""The newest version of each engine with complete tables (`query_versions.yaml` of aiconfigurator-core
0.12.0).
"""

GRACE_NODE, HGX_NODE = 4, 8
"""`num_gpus_per_node` of the package's system files."""


@dataclass(frozen=True, slots=True)
class OperatorTables:
    """The tables of one installation or unpacked wheel; `root` holds the folder `systems`."""

    root: Path
    package_version: str

    def path(
        self, accelerator: str, operator: str, engine: str, table: str, version: str | None = None
    ) -> Path:
        """Where a table would be; `ValueError` when the package knows no such accelerator or engine.

        Without a version that of `VERSIONS`.
        """
        if accelerator not in SYSTEMS or engine not in VERSIONS:
            known = f"{', '.join(SYSTEMS)} and {', '.join(VERSIONS)}"
            raise ValueError(f"no tables of {accelerator} under {engine}: known are {known}")
        folder = self.root / "systems" / "data" / SYSTEMS[accelerator] / operator / engine
        return folder / (version or VERSIONS[engine]) / f"{table}.parquet"

    def provenance(self, path: Path) -> Provenance:
        """Package, version, path below the package and hash of a table."""
        relative = path.relative_to(self.root).as_posix()
        return Provenance("aiconfigurator-core", self.package_version, relative, sha256_of(path))


def find_tables(directory: str | Path | None = None) -> OperatorTables | None:
    """The tables in `directory`, else in $LLMOPT_AICONFIGURATOR, else in the installed package, else None."""
    given = directory or os.environ.get("LLMOPT_AICONFIGURATOR")
    if given:
        root = Path(given)
    else:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            return None
        root = Path(spec.origin).parent
    return OperatorTables(root, _version(root)) if (root / "systems" / "data").is_dir() else None


def ranks_of_a_node(table: Path) -> int:
    """Accelerators of a node of the system that a table is of: 4 on a Grace board, 8 elsewhere."""
    system = table.parents[3].name
    return GRACE_NODE if system.startswith("gb") else HGX_NODE


def _version(root: Path) -> str:
    """Version in the name of the `dist-info` folder beside the package; 'unknown' without one."""
    infos = sorted(root.parent.glob(f"{PACKAGE}-*.dist-info"))
    return infos[-1].name.removeprefix(f"{PACKAGE}-").removesuffix(".dist-info") if infos else "unknown"


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The named columns of a Parquet table; `SourceError` names the file and the columns that it lacks."""
    frame = pd.read_parquet(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SourceError(
            path,
            f"lacks the columns {missing}",
            f"a table of that name has them; this has {sorted(frame.columns)}",
        )
    return frame[list(columns)]
