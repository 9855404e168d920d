"""Text to tree by an allow-list: whatever is not arithmetic on names and numbers is refused, never run.

Python's own parser reads the text, so precedence is what everyone expects; its tree is then copied node by
node into ours, and a node without a rule here is an error. Characters, length, depth and size are bounded
before and after, so that no text costs more than its reading.
"""

from __future__ import annotations

import ast
import math
import re
import warnings

from .tree import Constant, Formula, Operation, Operator, Reference

MOST_CHARACTERS = 500
MOST_NODES = 120
MOST_DEPTH = 24
LARGEST_NUMBER = 1e30
FUNCTIONS: dict[str, tuple[Operator, int, int]] = {
    "min": ("min", 2, 8),
    "max": ("max", 2, 8),
    "ceil": ("ceil", 1, 1),
    "floor": ("floor", 1, 1),
    "abs": ("abs", 1, 1),
    "log": ("log", 1, 1),
    "exp": ("exp", 1, 1),
    "sqrt": ("sqrt", 1, 1),
}
"""Name in the text to its operator and its fewest and most arguments."""

_BINARY: dict[type[ast.AST], Operator] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}
_COMPARISONS: dict[type[ast.AST], Operator] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_STRANGE = re.compile(r"[^A-Za-z0-9_ .+\-*/(),<>]|//")
_EXAMPLE = "write arithmetic on names and numbers, such as 1000 * power_w / throughput_tokens_per_s"
_ALLOWED = f"use + - * / **, a if x < y else b, and the functions {', '.join(FUNCTIONS)}"


class FormulaError(ValueError):
    """What is wrong with a formula, which rule it breaks, what to do, and where in its text (from 0)."""

    def __init__(self, what: str, rule: str, remedy: str, offset: int = 0) -> None:
        super().__init__(what)
        self.what, self.rule, self.remedy, self.offset = what, rule, remedy, offset


def parse(text: str) -> Formula:
    """The tree of a formula; `FormulaError` for everything that is none, with the place."""
    if len(text) > MOST_CHARACTERS:
        what = f"the formula has {len(text)} characters, more than {MOST_CHARACTERS}"
        raise FormulaError(what, "formula-size", "split it into several metrics", MOST_CHARACTERS)
    strange = _STRANGE.search(text.replace(">=", "> ").replace("<=", "< "))
    if strange is not None:
        raise FormulaError(
            f"{strange[0]!r} has no place in a formula", "formula-character", _ALLOWED, strange.start()
        )
    indent = len(text) - len(text.lstrip(" "))
    return _Reader(indent).read(_python_tree(text.lstrip(" "), indent), 1)


def _python_tree(text: str, indent: int) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as a number that runs into a keyword: `1if`
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        offset = indent + (error.offset - 1 if error.offset else len(text))
        raise FormulaError("this is no formula", "formula-syntax", _EXAMPLE, offset) from None
    except (MemoryError, RecursionError, ValueError):
        raise FormulaError(
            "the formula nests too deep", "formula-size", "split it into several metrics"
        ) from None


class _Reader:
    """Copies Python's tree, counting nodes."""

    def __init__(self, indent: int) -> None:
        self._indent = indent
        self._count = 0

    def read(self, node: ast.expr, depth: int) -> Formula:
        """Our tree of an expression that stands `depth` levels deep."""
        self._count += 1
        offset = self._indent + node.col_offset
        if self._count > MOST_NODES or depth > MOST_DEPTH:
            what = f"the formula has more than {MOST_NODES} parts or {MOST_DEPTH} levels"
            raise FormulaError(what, "formula-size", "split it into several metrics", offset)
        match node:
            case ast.Constant():
                return Constant(_number(node.value, offset), offset)
            case ast.Name():
                return Reference(node.id, offset)
            case ast.BinOp() if type(node.op) in _BINARY:
                return self._operation(_BINARY[type(node.op)], [node.left, node.right], offset, depth)
            case ast.UnaryOp(op=ast.USub()):
                return self._operation("-", [node.operand], offset, depth)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.read(node.operand, depth + 1)
            case ast.IfExp():
                condition = self._condition(node.test, depth + 1)
                values = [self.read(value, depth + 1) for value in (node.body, node.orelse)]
                return Operation("if", (condition, *values), offset)
            case ast.Call():
                return self._call(node, offset, depth)
        raise _refused(node, offset)

    def _operation(self, operator: Operator, operands: list[ast.expr], offset: int, depth: int) -> Operation:
        return Operation(operator, tuple(self.read(each, depth + 1) for each in operands), offset)

    def _condition(self, node: ast.expr, depth: int) -> Operation:
        offset = self._indent + node.col_offset
        if not isinstance(node, ast.Compare) or len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
            what = "a condition compares two values once"
            raise FormulaError(what, "formula-condition", "write a < b, a <= b, a > b or a >= b", offset)
        operator = _COMPARISONS[type(node.ops[0])]
        return self._operation(operator, [node.left, node.comparators[0]], offset, depth)

    def _call(self, node: ast.Call, offset: int, depth: int) -> Operation:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in FUNCTIONS or node.keywords:
            raise FormulaError(
                "only the listed functions may be called", "formula-function", _ALLOWED, offset
            )
        operator, least, most = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            wanted = "1 argument" if most == 1 else f"{least} to {most} arguments"
            what = f"{name} takes {wanted}, not {len(node.args)}"
            raise FormulaError(what, "formula-arguments", f"give {name} {wanted}", offset)
        return self._operation(operator, node.args, offset, depth)


def _number(value: object, offset: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormulaError("this is no real number", "formula-number", _EXAMPLE, offset)
    if not abs(value) <= LARGEST_NUMBER:
        what = f"numbers go up to {LARGEST_NUMBER:g}"
        raise FormulaError(what, "formula-number", "use larger units", offset)
    number = float(value)
    return number if math.isfinite(number) else 0.0


def _refused(node: ast.expr, offset: int) -> FormulaError:
    if isinstance(node, ast.Compare):
        what = "a comparison stands only between if and else"
        return FormulaError(what, "formula-condition", "write a if x < y else b", offset)
    return FormulaError("this is no arithmetic", "formula-syntax", _ALLOWED, offset)
