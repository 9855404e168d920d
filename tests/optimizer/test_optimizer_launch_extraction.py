"""Inventories are read from packages as text: every way in which SGLang and vLLM declare flags."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from llmopt_optimizer.launch.extraction.__main__ import document, text_of
from llmopt_optimizer.launch.inventory import Engine, Flag, Inventory, inventory, versions

CALLS = """
BACKENDS = ["a", "b"]
class ServerArgs:
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--tp-size", "--tensor-parallel-size", type=int, default=1)
        parser.add_argument("--backend", type=str, choices=[*BACKENDS, "c"])
        parser.add_argument("--enable-x", action="store_true")
        parser.add_argument("--gone", action=DeprecatedStoreTrueAction, new_flag="--enable-x")
        parser.add_argument("--many", nargs="+", type=str)
"""
FIELDS = """
class Parallel:
    tp_size: A[int, Arg(help="", aliases=["--tensor-parallel-size"])] = 1
    enable_x: A[bool, "help"] = False
    fraction: A[Optional[float], "help"] = None
    mode: A[Literal["null", "prefill"], "help"] = "null"
    kept: A[bool, Arg(help="", action=argparse.BooleanOptionalAction)] = True
    hidden: A[bool, Arg(no_cli=True)] = False
    not_a_flag: int = 3
"""
ENGINE = """
class EngineArgs:
    @staticmethod
    def add_cli_args(parser):
        cache_kwargs = get_kwargs(CacheConfig)
        group = parser.add_argument_group("x")
        group.add_argument("--kv-cache-dtype", **cache_kwargs["cache_dtype"])
        group.add_argument("--prefix", **cache_kwargs["prefix"])
        group.add_argument("--blocks", "-b", **{**cache_kwargs["blocks"], "default": None})
        group.add_argument("--own", type=float)
"""
CONFIG = """
CacheDType = Literal["auto", "fp8"]
class CacheConfig:
    cache_dtype: CacheDType = "auto"
    prefix: bool | None = None
    blocks: int | None = None
"""
FRONT = """
class FrontendArgs:
    host: str | None = None
    port: int = 8000
def make_arg_parser(parser):
    parser.add_argument("--headless", action="store_true")
"""


def wheel(folder: Path, version: str, files: dict[str, str]) -> Path:
    path = folder / f"sglang-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def sdist(folder: Path, version: str, files: dict[str, str]) -> Path:
    path = folder / f"vllm-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"vllm-{version}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def flags(found: dict[str, object], index: int) -> dict[str, dict[str, object]]:
    entries = found["flags"]
    assert isinstance(entries, list)
    return {e["names"][0]: e for e in entries if any(a <= index <= b for a, b in e["versions"])}


def test_sglang_calls_and_fields(tmp_path: Path) -> None:
    newer = wheel(tmp_path, "0.5.20", {"sglang/srt/arg_groups/fields/parallel.py": FIELDS})
    older = wheel(tmp_path, "0.5.9", {"sglang/srt/server_args.py": CALLS})
    found = document("sglang", [newer, older])
    assert found["versions"] == ["0.5.9", "0.5.20"]
    old, new = flags(found, 0), flags(found, 1)
    assert old["--tp-size"] == {
        "names": ("--tp-size", "--tensor-parallel-size"), "kind": "value", "type": "int", "versions": [[0, 1]]
    }  # fmt: skip
    assert old["--backend"]["choices"] == ("a", "b", "c")
    assert (old["--gone"]["kind"], old["--gone"]["deprecated"]) == ("switch", True)
    assert old["--many"]["kind"] == "list"
    assert {"--gone", "--many", "--backend"}.isdisjoint(new)
    assert (new["--enable-x"]["kind"], new["--kept"]["kind"]) == ("switch", "toggle")
    assert (new["--fraction"]["type"], new["--mode"]["choices"]) == ("float", ("null", "prefill"))
    assert {"--hidden", "--not-a-flag"}.isdisjoint(new)
    assert text_of(found).count("\n") > 5


def test_vllm_takes_shapes_from_configuration_fields(tmp_path: Path) -> None:
    archive = sdist(
        tmp_path,
        "0.30.0",
        {
            "vllm/engine/arg_utils.py": ENGINE,
            "vllm/config/cache.py": CONFIG,
            "vllm/entrypoints/openai/cli_args.py": FRONT,
            "tests/entrypoints/openai/cli_args.py": "this is not Python",
        },
    )
    found = flags(document("vllm", [archive]), 0)
    assert found["--kv-cache-dtype"]["choices"] == ("auto", "fp8")
    assert found["--prefix"]["kind"] == "toggle"
    assert (found["--blocks"]["type"], found["--own"]["type"], found["--port"]["type"]) == (
        "int",
        "float",
        "int",
    )
    assert found["--headless"]["kind"] == "switch"


@pytest.mark.parametrize(
    ("engine", "first", "last", "names"),
    [
        ("sglang", "0.5.10", "0.5.23", ["--tp-size", "--chunked-prefill-size", "--mem-fraction-static"]),
        ("vllm", "0.16.0", "0.33.0", ["--max-num-seqs", "--max-model-len", "--enable-expert-parallel"]),
        ("sglang_router", "0.2.4", "0.3.2", ["--policy", "--pd-disaggregation"]),
    ],
)
def test_the_shipped_inventories(engine: Engine, first: str, last: str, names: list[str]) -> None:
    known = versions(engine)
    assert (known[0], known[-1]) == (first, last)
    for version in known:
        assert all(inventory(engine, version).accepts(name) for name in names)


def test_an_inventory_finds_what_an_engine_refuses() -> None:
    own = Inventory(
        "vllm",
        "1",
        (
            Flag(("--n",), "value", "int"),
            Flag(("--mode",), "value", "str", ("a", "b")),
            Flag(("--fast",), "toggle"),
            Flag(("--old",), "switch", deprecated=True),
            Flag(("--names",), "list"),
        ),
    )
    assert own.problems(["--n", "-3", "--mode", "a", "--no-fast", "--names", "x", "y"]) == ()
    assert own.problems(["--n", "x"]) == ("--n: x is no integer",)
    assert own.problems(["--n"]) == ("--n: needs a value",)
    assert own.problems(["--n", "1", "2"]) == ("--n: takes one value",)
    assert own.problems(["--mode", "c"]) == ("--mode: c is none of a, b",)
    assert own.problems(["--fast", "1"]) == ("--fast: takes no value",)
    assert own.problems(["--old"]) == ("--old: deprecated",)
    assert own.problems(["--what"]) == ("--what: unknown to vllm 1",)
