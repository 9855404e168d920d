"""Quantities with units: a dimension is a table from unit text to its size in the unit used inside.

Inside, everything is SI (seconds, bytes, watts, joules, requests or tokens a second) except prices, which
are kept in dollars an hour, as they are quoted. In files a quantity is a string with a unit (`"40 ms"`), or
its key carries the unit (`at_most_ms: 40`). Shares may be bare or in per cent; counts are bare numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from .errors import RuleError

Dimension = Literal[
    "time",
    "request_rate",
    "token_rate",
    "price",
    "money",
    "memory",
    "bandwidth",
    "power",
    "energy",
    "share",
    "count",
]

_TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0}
_MEMORY = {
    "B": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "TiB": 2.0**40,
}

_BANDWIDTH = {f"{unit}/s": size for unit, size in _MEMORY.items()} | {"Gbit/s": 1e9 / 8, "Tbit/s": 1e12 / 8}


def _rates(*names: str) -> dict[str, float]:
    periods = {"s": 1.0, "min": 1 / 60, "h": 1 / 3600}
    return {f"{name}/{period}": per_s for name in names for period, per_s in periods.items()}


UNITS: Mapping[Dimension, Mapping[str, float]] = MappingProxyType(
    {
        "time": _TIME,
        "request_rate": _rates("req", "requests", "request"),
        "token_rate": _rates("tok", "tokens", "token"),
        "price": {"USD/h": 1.0, "USD/hour": 1.0, "$/h": 1.0, "USD/min": 60.0, "USD/s": 3600.0},
        "money": {"USD": 1.0, "$": 1.0},
        "memory": _MEMORY,
        "bandwidth": _BANDWIDTH,
        "power": {"W": 1.0, "kW": 1e3, "MW": 1e6},
        "energy": {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6},
        "share": {"": 1.0, "%": 0.01},
        "count": {"": 1.0},
    }
)
"""Unit text to its size in the unit used inside, which is the first of each table."""

KEY_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        **{unit: unit for unit in _TIME if unit.isascii()},
        **{f"per_{period}": f"req/{period}" for period in ("s", "min", "h")},
        **{f"requests_per_{period}": f"req/{period}" for period in ("s", "min", "h")},
        **{f"tokens_per_{period}": f"tok/{period}" for period in ("s", "min", "h")},
        "usd_per_h": "USD/h",
        "usd": "USD",
        **{unit.lower(): unit for unit in _MEMORY if unit != "B"},
        "bytes": "B",
        **{f"{unit.lower()}_per_s": f"{unit}/s" for unit in _MEMORY if unit != "B"},
        "bytes_per_s": "B/s",
        **{unit.lower(): unit for unit in ("W", "kW", "J", "kJ", "Wh", "kWh")},
        "percent": "%",
    }
)
"""End of a key, after an underscore, to the unit that it stands for."""

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


def parse_quantity(value: object, dimension: Dimension) -> float:
    """`value` in the inner unit of `dimension`; RuleError for a missing, unknown or misplaced unit."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _not_a_quantity(dimension)
    text = value if isinstance(value, str) else repr(value)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise _not_a_quantity(dimension)
    return _finite(float(match[1]) * _factor(match[2], dimension))


def format_quantity(value: float, dimension: Dimension) -> str | float:
    """`value` as a file would give it: with the inner unit, or bare when the dimension has none."""
    unit = inner_unit(dimension)
    return f"{value!r} {unit}" if unit else value


def inner_unit(dimension: Dimension) -> str:
    """The unit that numbers of this dimension have inside."""
    return next(iter(UNITS[dimension]))


def split_key(key: str) -> tuple[str, str] | None:
    """`("at_most", "ms")` for the key `at_most_ms`; None for a key that carries no unit."""
    for suffix, unit in sorted(KEY_SUFFIXES.items(), key=lambda item: -len(item[0])):
        if key.endswith(f"_{suffix}"):
            return key[: -len(suffix) - 1], unit
    return None


def key_suffixes(dimension: Dimension) -> tuple[str, ...]:
    """Key endings that stand for a unit of `dimension`."""
    return tuple(suffix for suffix, unit in KEY_SUFFIXES.items() if unit in UNITS[dimension])


def _factor(unit: str, dimension: Dimension) -> float:
    table = UNITS[dimension]
    if unit in table:
        return table[unit]
    named = dimension.replace("_", " ")
    if not unit:
        raise RuleError(f"this {named} has no unit", "unit-missing", f"write it as {_example(dimension)}")
    known = ", ".join(filter(None, table)) or "none"
    raise RuleError(
        f"{unit!r} is no unit of {named}",
        "unit-unknown",
        f"use one of: {known}; such as {_example(dimension)}",
    )


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise RuleError("the number is too large", "finite", "give a finite number")
    return value


def _not_a_quantity(dimension: Dimension) -> RuleError:
    named = dimension.replace("_", " ")
    return RuleError(f"this is no {named}", "quantity", f"write it as {_example(dimension)}")


def _example(dimension: Dimension) -> str:
    examples: dict[Dimension, str] = {
        "time": '"40 ms"',
        "request_rate": '"6 req/s"',
        "token_rate": '"5000 tok/s"',
        "price": '"3.50 USD/h"',
        "money": '"2 USD"',
        "memory": '"120 GB"',
        "bandwidth": '"50 GB/s"',
        "power": '"20 kW"',
        "energy": '"3 J"',
        "share": '0.8 or "80 %"',
        "count": "16",
    }
    return examples[dimension]
