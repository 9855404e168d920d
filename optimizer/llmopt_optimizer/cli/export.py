"""`llmopt export`: the optimization model of a problem as a file for other solvers."""

from __future__ import annotations

import json
from pathlib import Path

from llmopt_optimizer.cli.commands import Inputs
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.core.export import Exported, ExportError, export_program
from llmopt_optimizer.core.program import Program
from llmopt_optimizer.core.translation.scope import NotTranslatable
from llmopt_optimizer.formulation.build import build_program, needed_only
from llmopt_optimizer.frozen import starting_frozen
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.scenario import resolve


def run_export(inputs: Inputs, out: Path) -> ExitCode:
    """Write the first round's model of the first objective, and beside it what its variables mean."""
    problem = inputs.load()
    prepare_directory(out.parent)
    scenario = resolve(problem)
    frozen = starting_frozen(scenario)
    program = needed_only(build_program(scenario, frozen))
    try:
        exported = export_program(program, out)
    except (ExportError, NotTranslatable) as error:
        raise InputError(f"{out}: {error}") from None
    write_files(out.parent, {f"{out.stem}.rows.json": _meaning(program, exported)})
    print(f"{out}: {len(exported.rows)} configurations; {out.stem}.rows.json says what each variable means")
    return ExitCode.SOLVED


def _meaning(program: Program, exported: Exported) -> str:
    variables = {
        name: {"system": system, "pool": pool, "variant": variant, "decisions": dict(values)}
        for name, (system, pool, variant, values) in exported.rows.items()
    }
    aim = program.objectives[0]
    document = {"metric": aim.metric, "sense": aim.sense, "scale": exported.scale, "variables": variables}
    return json.dumps(document, indent=2) + "\n"
