"""`result.json`: a result and the problem it answers as one versioned document, and back without loss.

Every number is finite or one of the strings `"NaN"` (not known), `"Infinity"` and `"-Infinity"`, as in the
JSON form of protocol buffers, so the file is strict JSON. `schema_version` grows when a reader of the
old form could misread the new one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from llmopt_optimizer.output.files import OutputError
from llmopt_optimizer.result import Result

SCHEMA_VERSION: Final = 1


class ResultDocument(BaseModel):
    """The content of `result.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = SCHEMA_VERSION
    llmopt_version: str
    problem: dict[str, JsonValue]
    """The problem as solved: overrides applied, defaults filled in."""
    result: Result


def result_text(result: Result, problem: dict[str, Any], version: str) -> str:
    """The document as JSON text that ends in a newline; the same result gives the same bytes."""
    document = ResultDocument(llmopt_version=version, problem=problem, result=result)
    return document.model_dump_json(indent=2) + "\n"


def read_document(path: str | Path) -> ResultDocument:
    """The document in `path`, a `result.json` or the directory that holds one.

    Raises `OutputError` when the file is missing, damaged, or of a version this program does not know.
    """
    source = Path(path)
    source = source / "result.json" if source.is_dir() else source
    try:
        return ResultDocument.model_validate_json(source.read_bytes())
    except OSError as error:
        raise OutputError(
            source, f"cannot be read: {error.strerror}", "give the result.json of a solve"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        remedy = f"this program reads schema_version {SCHEMA_VERSION}; solve the problem again"
        raise OutputError(source, f"is not a result of llmopt: {where}: {first['msg']}", remedy) from error


def read_result(path: str | Path) -> Result:
    """The `Result` that `write` stored at `path` (file or directory), equal to the one written."""
    return read_document(path).result
