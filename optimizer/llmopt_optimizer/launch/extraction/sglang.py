"""SGLang's server arguments: `add_argument` calls until 0.5.13, annotated fields since, both in between.

A field `name: A[type, "help"]` or `A[type, Arg(…)]` is the flag `--name` (SGLang, `arg_groups/arg_utils.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from llmopt_optimizer.launch.inventory import Flag

from .archives import modules
from .syntax import Constants, annotated, argument_calls, choices, constants, declared, keywords, option_names

SOURCES = re.compile(r"sglang/srt/(server_args|arg_groups/(choices|fields/\w+))\.py")
ROUTER_SOURCES = re.compile(r"sglang_router/router_args\.py")


def server_flags(archive: Path) -> tuple[Flag, ...]:
    """Every flag of `python -m sglang.launch_server` in a wheel."""
    trees = modules(archive, SOURCES)
    known = constants(trees.values())
    return tuple(flag for tree in trees.values() for flag in (*_called(tree, known), *_fields(tree, known)))


def router_flags(archive: Path) -> tuple[Flag, ...]:
    """Every flag of `python -m sglang_router.launch_router` in a wheel, without the `router-` prefix."""
    trees = modules(archive, ROUTER_SOURCES)
    known = constants(trees.values())
    found = []
    for tree in trees.values():
        for call in _router_calls(tree):
            names = tuple(name for arg in call.args if (name := _router_name(arg)))
            if names:
                found.append(declared(names, keywords(call), known))
    return tuple(found)


def _called(tree: ast.Module, known: Constants) -> Iterator[Flag]:
    for call in argument_calls(tree, "add_cli_args"):
        yield declared(option_names(call), keywords(call), known)


def _fields(tree: ast.Module, known: Constants) -> Iterator[Flag]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            match node.annotation:
                case ast.Subscript(value=ast.Name(id="A"), slice=ast.Tuple(elts=[kind, metadata, *_])):
                    flag = _field(node.target.id, kind, metadata, known)
                    if flag is not None:
                        yield flag


def _field(name: str, kind: ast.expr, metadata: ast.expr, known: Constants) -> Flag | None:
    given = keywords(metadata) if isinstance(metadata, ast.Call) else {}
    if "no_cli" in given:
        return None
    own = _text(given.get("cli_name")) or "--" + name.replace("_", "-")
    names = (own, *choices(given.get("aliases"), {}))
    if "action" in given:
        return declared(names, given, known)
    plain = annotated(ast.AnnAssign(ast.Name(name), kind, None, 1), known)
    listed = choices(given.get("choices"), known) or plain.choices
    shape = "value" if plain.kind == "list" and "type_parser" in given else plain.kind
    return Flag(names, "switch" if shape == "toggle" else shape, plain.type, listed)


def _router_calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            yield node


def _router_name(node: ast.expr) -> str | None:
    """`--port`, or the name in `f"--{prefix}policy"`, whose prefix the router's own command leaves empty."""
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
    else:
        text = _text(node)
    return text if text.startswith("-") else None


def _text(node: ast.expr | None) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""
