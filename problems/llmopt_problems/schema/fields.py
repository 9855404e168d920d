"""Field types that the sections share: quantities with units, paths, and keys that carry a unit.

A dimensional field has two names: the one of the file (`rate`, whose value is `"6 req/s"`) and the attribute,
which says the unit inside (`rate_per_s`). Any other `rate_<unit>` key with a bare number means the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo

from ..errors import RuleError
from ..units import Dimension, inner_unit, key_suffixes, parse_quantity, split_key

SECTION = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
"""Settings of every section: immutable, no silent conversion, unknown keys refused."""

MAX_TOKENS = 2**22
"""Longest request length that a problem may ask for, in tokens; lengths are tabulated up to it."""

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Count = Annotated[int, Field(ge=1, le=10**6)]


def _quantity(dimension: Dimension, input_type: Any = str) -> BeforeValidator:
    return BeforeValidator(partial(parse_quantity, dimension=dimension), json_schema_input_type=input_type)


Seconds = Annotated[float, _quantity("time")]
RequestsPerSecond = Annotated[float, _quantity("request_rate")]
DollarsPerHour = Annotated[float, _quantity("price")]
BytesPerSecond = Annotated[float, _quantity("bandwidth")]
Bytes = Annotated[float, _quantity("memory")]
Share = Annotated[float, _quantity("share", float | str)]


def _existing_file(value: object, info: ValidationInfo) -> object:
    """A path as given or, from a problem file, relative to the folder of that file."""
    if not isinstance(value, str | Path):
        return value
    path = Path((info.context or {}).get("directory", "")) / value
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        raise RuleError(f"no file at {path}", "file-missing", "give a path relative to the problem file")
    return path


def _existing_directory(value: object, info: ValidationInfo) -> object:
    """A folder as given or, from a problem file, relative to the folder of that file."""
    if not isinstance(value, str | Path):
        return value
    path = Path((info.context or {}).get("directory", "")) / value
    if not path.is_dir():
        raise RuleError(f"no folder at {path}", "folder-missing", "give a path relative to the problem file")
    return path


ExistingDirectory = Annotated[Path, BeforeValidator(_existing_directory, json_schema_input_type=str)]
ExistingFile = Annotated[Path, BeforeValidator(_existing_file, json_schema_input_type=str)]


def unit_keys(*fields: str) -> Callable[[object], object]:
    """A section's check before all others: rewrites `rate_per_s: 6` to `rate: "6 req/s"` for these fields."""

    def spell_out(data: object) -> object:
        if not isinstance(data, dict):
            return data
        spelled: dict[object, object] = {}
        for key, value in data.items():
            name, quantity = _spelled(key, value, fields)
            if name in spelled:
                raise RuleError(f"{name} is given twice", "key-twice", f"keep one of them: {name}", (key,))
            spelled[name] = quantity
        return spelled

    return spell_out


def _spelled(key: object, value: object, fields: tuple[str, ...]) -> tuple[object, object]:
    parts = split_key(key) if isinstance(key, str) else None
    if parts is None or parts[0] not in fields or value is None:
        return key, value
    return parts[0], f"{value} {parts[1]}"


def with_units(**dimensions: tuple[Dimension, ...]) -> ConfigDict:
    """`SECTION` for a section with dimensional fields, whose JSON Schema allows their unit-carrying keys."""

    def extend(schema: dict[str, Any]) -> None:
        for field, allowed in dimensions.items():
            _allow_unit_keys(schema, field, allowed)

    return ConfigDict(**SECTION, json_schema_extra=extend)


def _allow_unit_keys(schema: dict[str, Any], field: str, dimensions: tuple[Dimension, ...]) -> None:
    suffixes = list(dict.fromkeys(suffix for dimension in dimensions for suffix in key_suffixes(dimension)))
    pattern = f"^{field}_({'|'.join(suffixes)})$"
    schema.setdefault("patternProperties", {})[pattern] = {"type": "number"}
    schema["properties"][field]["examples"] = [f"1 {inner_unit(each)}".strip() for each in dimensions]
    if field in schema.get("required", ()):
        schema["required"].remove(field)
        names = [field, *(f"{field}_{suffix}" for suffix in suffixes)]
        schema.setdefault("allOf", []).append({"oneOf": [{"required": [name]} for name in names]})
