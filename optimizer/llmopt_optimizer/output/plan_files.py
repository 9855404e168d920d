"""The result directory of a plan: `plan.csv` and `plan.json`, written together, and the plan read back."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from llmopt_optimizer.fleet.plan import PlanResult
from llmopt_optimizer.output import plan_frames
from llmopt_optimizer.output.files import OutputError, prepare_directory, write_files

if TYPE_CHECKING:
    from llmopt_problems.schema.kinds import PlanProblem

SCHEMA_VERSION: Final = 1


class PlanDocument(BaseModel):
    """The content of `plan.json`; numbers that are not finite are the strings of `result.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = SCHEMA_VERSION
    llmopt_version: str
    problem: dict[str, JsonValue]
    """The problem as solved: overrides applied, defaults filled in."""
    result: PlanResult


def write_plan(result: PlanResult, problem: PlanProblem, directory: str | Path) -> tuple[Path, ...]:
    """Write `plan.csv` and `plan.json` into `directory`, both or neither, and give their paths.

    Raises `OutputError` when the directory cannot be written.
    """
    target = prepare_directory(directory)
    contents = {
        "plan.csv": plan_frames.groups(result).to_csv(index=False, lineterminator="\n"),
        "plan.json": plan_text(result, problem),
    }
    write_files(target, contents)
    return tuple(target / name for name in contents)


def plan_text(result: PlanResult, problem: PlanProblem) -> str:
    """The content of `plan.json`."""
    asked = problem.model_dump(mode="json", exclude_none=True)
    document = PlanDocument(llmopt_version=version("llmopt"), problem=asked, result=result)
    return document.model_dump_json(indent=2) + "\n"


def read_plan(path: str | Path) -> PlanResult:
    """The plan in `path`, a `plan.json` or the directory of one; raises `OutputError` for anything else."""
    source = Path(path)
    source = source / "plan.json" if source.is_dir() else source
    try:
        return PlanDocument.model_validate_json(source.read_bytes()).result
    except OSError as error:
        raise OutputError(
            source, f"cannot be read: {error.strerror}", "give the plan.json of a solve"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        remedy = f"this program reads schema_version {SCHEMA_VERSION}; solve the problem again"
        raise OutputError(source, f"is not a plan of llmopt: {where}: {first['msg']}", remedy) from error
