"""vLLM's `serve` arguments: engine flags declared with the type of a configuration field, and front-end
fields.

`group.add_argument("--x", **kwargs["x"])` takes its shape from the annotation of the field `x` of the class
that `kwargs = get_kwargs(Class)` names; every field of the front-end classes is a flag (vLLM,
`engine/arg_utils.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from llmopt_optimizer.launch.inventory import Flag

from .archives import modules
from .syntax import Constants, annotated, argument_calls, constants, declared, keywords, option_names

SOURCES = re.compile(r"vllm/(engine/arg_utils|entrypoints/(openai|launchers|common)/cli_args|config/\w+)\.py")
HUMAN_READABLE = ("max_model_len", "max_num_batched_tokens", "kv_cache_memory_bytes")
"""Integers that may also be written `8k`, `auto`: any text here."""

Fields = Mapping[str, Mapping[str, ast.AnnAssign]]


def server_flags(archive: Path) -> tuple[Flag, ...]:
    """Every flag of `vllm serve` in a source distribution."""
    trees = modules(archive, SOURCES)
    known, classes = constants(trees.values()), _classes(trees.values())
    engine = trees["vllm/engine/arg_utils.py"]
    front = next(tree for name, tree in trees.items() if name.endswith("cli_args.py"))
    own = argument_calls(front, "make_arg_parser")
    return (
        *_engine_flags(engine, classes, known),
        *_front_flags(front, known),
        *(declared(option_names(call), keywords(call), known) for call in own),
    )


def _classes(trees: Iterable[ast.Module]) -> Fields:
    found: dict[str, dict[str, ast.AnnAssign]] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = dict(_fields(node))
    return found


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id, each


def _engine_flags(tree: ast.Module, classes: Fields, known: Constants) -> Iterator[Flag]:
    owners = _owners(tree)
    for call in argument_calls(tree, "add_cli_args"):
        field = _field(call, owners, classes)
        names, given = option_names(call), keywords(call)
        if field is None or "action" in given:
            yield declared(names, given, known)
        else:
            yield _shaped(names, field, known)


def _owners(tree: ast.Module) -> dict[str, str]:
    """Which class each `x_kwargs = get_kwargs(Class)` speaks of."""
    found = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Name(id="get_kwargs"), args=[ast.Name(id=owner), *_]),
            ):
                found[name] = owner
    return found


def _field(call: ast.Call, owners: Mapping[str, str], classes: Fields) -> ast.AnnAssign | None:
    for keyword in call.keywords:
        for node in ast.walk(keyword.value) if keyword.arg is None else ():
            match node:
                case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str() as key)):
                    return classes.get(owners.get(name, ""), {}).get(key)
    return None


def _front_flags(tree: ast.Module, known: Constants) -> Iterator[Flag]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
            for name, field in _fields(node):
                yield _shaped(("--" + name.replace("_", "-"),), field, known)


def _shaped(names: tuple[str, ...], field: ast.AnnAssign, known: Constants) -> Flag:
    flag = replace(annotated(field, known), names=names)
    assert isinstance(field.target, ast.Name)
    return replace(flag, type="str") if field.target.id in HUMAN_READABLE else flag
