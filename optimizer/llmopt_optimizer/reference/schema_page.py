"""Every key of a problem file: type, default, meaning, from the published JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmopt_problems import json_schema

Schema = Mapping[str, Any]


def schema_page() -> str:
    """The page `reference/problem.md`."""
    schema = json_schema()
    definitions: Mapping[str, Schema] = schema["$defs"]
    first = [each["$ref"].rpartition("/")[2] for each in schema["oneOf"]]
    ordered = [*first, *sorted(set(definitions) - set(first))]
    intro = (
        "# Keys of a problem file\n\n`llmopt schema` prints the JSON Schema that this page is made from. "
        "A quantity is text with its unit (`2 s`, `40 ms`, `6 req/s`), or its key carries the unit "
        "(`at_most_ms`).\n"
    )
    return "\n".join([intro, *(_section(name, definitions[name]) for name in ordered)])


def _section(name: str, schema: Schema) -> str:
    lines = [f"## {name}\n", schema.get("description", "").strip(), ""]
    required = set(schema.get("required", ()))
    rows = [_row(key, each, key in required) for key, each in schema.get("properties", {}).items()]
    if rows:
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _row(key: str, schema: Schema, required: bool) -> str:
    given = schema.get("default")
    default = "required" if required else "its own defaults" if isinstance(given, dict) else _code(given)
    cells = (f"`{key}`", " or ".join(dict.fromkeys(_types(schema))), default, schema.get("description", ""))
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _types(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f"[{name}](#{name.lower()})"
    elif "const" in schema:
        yield _code(schema["const"])
    elif "enum" in schema:
        yield ", ".join(_code(each) for each in schema["enum"])
    elif schema.get("type") == "array":
        yield f"list of {' or '.join(dict.fromkeys(_types(schema.get('items', {}))))}"
    elif "type" in schema:
        yield str(schema["type"])
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if each.get("type") != "null":
            yield from _types(each)


def _code(value: object) -> str:
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
