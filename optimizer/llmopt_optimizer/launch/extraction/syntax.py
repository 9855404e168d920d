"""Facts about command lines in the syntax trees of Python sources."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from llmopt_optimizer.launch.inventory import Flag, ValueType

Constants = Mapping[str, tuple[str, ...]]
"""Module-level lists of strings, and literal types, by name."""


def constants(trees: Iterable[ast.Module]) -> Constants:
    """The named choices of the modules: `NAME = ["a", "b", *OTHER]` and `Name = Literal["a", "b"]`."""
    found: dict[str, tuple[str, ...]] = {}
    for tree in trees:
        for node in tree.body:
            target = _target(node)
            value = getattr(node, "value", None)
            if target and value is not None:
                listed = choices(value, found)
                if listed:
                    found[target] = listed
    return found


def choices(node: ast.expr | None, known: Constants) -> tuple[str, ...]:
    """The strings of a list, tuple, set, `Literal[…]`, or a name of one; empty where they are computed."""
    match node:
        case ast.Name(id=name):
            return known.get(name, ())
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return _strings(parts, known)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return _strings(inner.elts if isinstance(inner, ast.Tuple) else [inner], known)
        case _:
            return ()


def _strings(parts: list[ast.expr], known: Constants) -> tuple[str, ...]:
    found: list[str] = []
    for part in parts:
        if isinstance(part, ast.Constant):
            found.append(str(part.value))
        else:
            inner = choices(part.value if isinstance(part, ast.Starred) else part, known)
            if not inner:
                return ()
            found.extend(inner)
    return tuple(found)


def argument_calls(tree: ast.Module, function: str) -> Iterator[ast.Call]:
    """Calls of `add_argument` with a literal name inside every function called `function`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and _called(call) == "add_argument" and option_names(call):
                    yield call


def option_names(call: ast.Call) -> tuple[str, ...]:
    """The literal spellings that a call declares."""
    literals = (each.value for each in call.args if isinstance(each, ast.Constant))
    return tuple(text for text in literals if isinstance(text, str) and text.startswith("-"))


def keywords(call: ast.Call) -> dict[str, ast.expr]:
    """The keyword arguments of a call by name."""
    return {each.arg: each.value for each in call.keywords if each.arg}


def declared(names: tuple[str, ...], given: Mapping[str, ast.expr], known: Constants) -> Flag:
    """The flag that `add_argument(*names, **given)` declares."""
    action = ast.unparse(given["action"]).strip("'\"") if "action" in given else ""
    flag = Flag(names, "value", value_type(given.get("type")), choices(given.get("choices"), known))
    if "Deprecated" in action:
        return replace(flag, kind="switch" if "StoreTrue" in action else "optional", deprecated=True)
    if action in ("store_true", "store_false"):
        return Flag(names, "switch")
    if "BooleanOptionalAction" in action:
        return Flag(names, "toggle")
    nargs = given.get("nargs")
    if isinstance(nargs, ast.Constant):
        return replace(flag, kind="optional" if nargs.value == "?" else "list")
    return flag


def value_type(node: ast.expr | None) -> ValueType:
    """The type of a value from the expression that names it."""
    text = ast.unparse(node) if node is not None else "str"
    return "int" if text == "int" else "float" if text == "float" else "str"


def annotated(field: ast.AnnAssign, known: Constants) -> Flag:
    """A value flag of the type that a field's annotation gives; the names are still to be set."""
    text = ast.unparse(field.annotation)
    words = set(_names(field.annotation)) - {"None"}
    if {"bool", "str"} <= words:
        return Flag((), "optional")
    if "bool" in words:
        return Flag((), "toggle")
    if words & {"list", "List", "tuple", "set"}:
        return Flag((), "list")
    literal = _literal(field.annotation, known)
    if literal:
        return Flag((), "value", "str", (*literal, "None") if "None" in text else literal)
    kind: ValueType = "int" if "int" in words else "float" if "float" in words else "str"
    return Flag((), "value", "str" if words - {"Optional", kind} else kind)


def _literal(annotation: ast.expr, known: Constants) -> tuple[str, ...]:
    if isinstance(annotation, ast.BinOp):
        return _literal(annotation.left, known)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Optional":
        return _literal(annotation.slice, known)
    return choices(annotation, known)


def _names(node: ast.expr) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _target(node: ast.stmt) -> str | None:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case _:
            return None
