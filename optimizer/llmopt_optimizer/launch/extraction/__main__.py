"""`python -m llmopt_optimizer.launch.extraction ENGINE OUT ARCHIVE…`: an inventory file from wheels or
sdists.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from llmopt_optimizer.launch.inventory import Flag
from llmopt_optimizer.output.files import write_files

from .archives import version_key, version_of
from .sglang import router_flags
from .sglang import server_flags as sglang_flags
from .vllm import server_flags as vllm_flags

READERS: Mapping[str, Callable[[Path], tuple[Flag, ...]]] = {
    "sglang": sglang_flags,
    "sglang_router": router_flags,
    "vllm": vllm_flags,
}


def document(engine: str, archives: Sequence[Path]) -> dict[str, object]:
    """The inventory of an engine: its versions, and each flag with the ranges of versions that have it."""
    ordered = sorted(archives, key=lambda path: version_key(version_of(path)))
    present: dict[Flag, list[int]] = {}
    for index, archive in enumerate(ordered):
        for flag in dict.fromkeys(READERS[engine](archive)):
            present.setdefault(flag, []).append(index)
    return {
        "engine": engine,
        "source": "command-line declarations in the packages published on PyPI",
        "versions": [version_of(path) for path in ordered],
        "flags": [_entry(flag, present[flag]) for flag in sorted(present, key=lambda flag: flag.names)],
    }


def _entry(flag: Flag, indices: list[int]) -> dict[str, object]:
    filled = {key: value for key, value in asdict(flag).items() if value not in ((), False)}
    return {**filled, "versions": _ranges(indices)}


def _ranges(indices: list[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ranges


def text_of(inventory: dict[str, object]) -> str:
    """The document as JSON with one flag a line, so that a difference between versions can be read."""
    flags = inventory["flags"]
    assert isinstance(flags, list)
    lines = ",\n".join("  " + json.dumps(flag) for flag in flags)
    head = json.dumps({key: value for key, value in inventory.items() if key != "flags"}, indent=1)
    return f'{head[:-2]},\n "flags": [\n{lines}\n ]\n}}\n'


def main() -> None:
    """Write the inventory that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=sorted(READERS))
    parser.add_argument("out", type=Path)
    parser.add_argument("archives", type=Path, nargs="+")
    given = parser.parse_args()
    write_files(given.out.parent, {given.out.name: text_of(document(given.engine, given.archives))})


if __name__ == "__main__":
    main()
