"""Metrics of the user's own: formulas over the catalog's metrics, the decisions and the traffic.

A metric of one's own is a number a deployment, in a declared unit. Service levels and objectives name it as
they name any other metric; the bound of a level is in its unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, Field, field_validator

from ..errors import RuleError
from ..expressions import FormulaError, parse
from ..expressions.definitions import DefinitionError, checked_definitions
from ..expressions.intervals import Interval
from ..expressions.parsing import FUNCTIONS
from ..metrics_catalog import METRICS, Better
from .fields import SECTION

OwnMetrics: TypeAlias = Mapping[str, "OwnMetric"]
MOST_METRICS = 32
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")
_RESERVED = {*FUNCTIONS, "if", "else", "and", "or", "not", "lambda", "is", "in"}
_BOUNDS = ("at_most", "at_least")
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*")


class OwnMetric(BaseModel):
    """A formula with the unit of its value."""

    model_config = SECTION
    formula: str = Field(
        min_length=1,
        description="Arithmetic on names: + - * / **, min, max, ceil, floor, abs, log, exp, sqrt, "
        "a if x < y else b. "
        "Names are metrics by their key in SI units (ttft_p95_s, power_w), decisions (decode_tp), traffic "
        "(input_tokens), and other metrics of your own.",
    )
    unit: str = Field(max_length=20, description='Unit of the value, such as "g/h"; "" for a plain number.')
    better: Better = Field(default="either", description="Direction in which the value is better.")

    @field_validator("formula")
    @classmethod
    def _is_a_formula(cls, text: str) -> str:
        try:
            parse(text)
        except FormulaError as error:
            raise _placed(error) from None
        return text


def _placed(error: FormulaError, at: tuple[str | int, ...] = ()) -> RuleError:
    return RuleError(error.what, error.rule, error.remedy, at, error.offset)


def check_formulas(metrics: OwnMetrics, known: Mapping[str, Interval]) -> None:
    """RuleError, at the problem, for names that are taken or unknown, cycles, and values without bound."""
    for name in metrics:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            what, remedy = f"{name!r} is no name for a metric", "use letters, digits and _, a letter first"
            raise RuleError(what, "metric-name", remedy, ("metrics", name))
        if name in known or name in METRICS:
            what = f"{name} already means something"
            raise RuleError(what, "metric-name", "choose another name", ("metrics", name))
    try:
        checked_definitions({name: parse(metric.formula) for name, metric in metrics.items()}, known)
    except DefinitionError as fault:
        raise _placed(fault.error, ("metrics", fault.name, "formula")) from None


def with_own_units(data: object) -> object:
    """A problem's raw data with the bounds on metrics of its own as numbers, their units checked and kept."""
    if not isinstance(data, dict) or not isinstance(data.get("metrics"), dict):
        return data
    levels = data.get("slo")
    if not isinstance(levels, list | tuple):
        return data
    units = {name: each.get("unit") for name, each in data["metrics"].items() if isinstance(each, dict)}
    return {**data, "slo": [_converted(level, units, index) for index, level in enumerate(levels)]}


def _converted(level: object, units: Mapping[str, object], index: int) -> object:
    if not isinstance(level, dict) or level.get("metric") not in units or level["metric"] in METRICS:
        return level
    unit = units[level["metric"]]
    bounds = {key: _number(level[key], unit, ("slo", index, key)) for key in _BOUNDS if key in level}
    return {**level, **bounds, "unit": unit}


def _number(value: object, unit: object, at: tuple[str | int, ...]) -> Any:
    """The number of `"5 g/h"`; a bare number is in the declared unit; what else it is, the field refuses."""
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    if match[2] != unit:
        raise RuleError(
            f"this metric's unit is {unit!r}", "unit-unknown", f"write {match[1]} {unit}".strip(), at
        )
    return float(match[1])
