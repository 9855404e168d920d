"""`result.json`: a result and the problem it answers as one versioned document, and back without loss.

Every number is finite or one of the strings `"NaN"` (not known), `"Infinity"` and `"-Infinity"`, as in the
JSON form of protocol buffers, so the file is strict JSON. `schema_version` grows when a reader of the
old form could misread the new one; the version before is still read.

1. the first form
2. frozen parameters tell their unit and their source
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from llmopt_optimizer.output.files import OutputError
from llmopt_optimizer.result import Result

SCHEMA_VERSION: Final = 2
NOT_RECORDED = "not recorded before schema_version 2"


class ResultDocument(BaseModel):
    """The content of `result.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[2] = SCHEMA_VERSION
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

    Documents of the version before come back in the form of this one. Raises `OutputError` when the file is
    missing, damaged, or of a version this program does not know.
    """
    source = Path(path)
    source = source / "result.json" if source.is_dir() else source
    try:
        return _document(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(source, f"cannot be read: {error}", "give the result.json of a solve") from error
    except json.JSONDecodeError as error:
        raise _refused(source, f"the document: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise _refused(source, f"{where}: {first['msg']}") from error


def _refused(source: Path, why: str) -> OutputError:
    remedy = f"this program reads schema_version {SCHEMA_VERSION - 1} and {SCHEMA_VERSION}; solve again"
    return OutputError(source, f"is not a result of llmopt: {why}", remedy)


def _document(text: str) -> ResultDocument:
    raw: Any = json.loads(text)
    if isinstance(raw, dict) and raw.get("schema_version") == SCHEMA_VERSION - 1:
        text = json.dumps(_from_version_1(raw))
    return ResultDocument.model_validate_json(text)


def _from_version_1(raw: dict[str, Any]) -> dict[str, Any]:
    """The same document in the form of version 2; what is damaged stays for the reader to name."""
    result = raw.get("result")
    if not (isinstance(result, dict) and isinstance(result.get("frozen"), list)):
        return {**raw, "schema_version": SCHEMA_VERSION}
    added = {"unit": "", "source": NOT_RECORDED}
    frozen = [{**each, **added} if isinstance(each, dict) else each for each in result["frozen"]]
    return {**raw, "schema_version": SCHEMA_VERSION, "result": {**result, "frozen": frozen}}


def read_result(path: str | Path) -> Result:
    """The `Result` that `write` stored at `path` (file or directory), equal to the one written."""
    return read_document(path).result
