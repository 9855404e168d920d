"""`llmopt simulate`: a deployment under a problem's traffic, or a run of its own file or flags."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmopt_optimizer.cli.commands import Inputs
from llmopt_optimizer.cli.deployment_text import deployment_from, parse_deployment
from llmopt_optimizer.cli.looking import Looks
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.loop import first_run, simulate_once, simulate_problem
from llmopt_optimizer.output.files import prepare_directory, write_files
from llmopt_optimizer.output.simulation import simulation_text
from llmopt_problems import Problem, catalog
from llmopt_problems.runs import deployment_document, is_run, load_run, problem_of


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the document goes (None: printed), and the files to look at the run with."""

    out: Path | None
    looks: Looks

    def check(self) -> None:
        """Refuse what cannot be written before anything is simulated."""
        if self.out is not None:
            prepare_directory(self.out.parent)
        self.looks.check()

    def write(self, text: str) -> None:
        """Write or print the document."""
        if self.out is None:
            sys.stdout.write(text)
        else:
            write_files(self.out.parent, {self.out.name: text})


def run_simulate(inputs: Inputs, deployment: str, outputs: Outputs) -> ExitCode:
    """Simulate one deployment under a problem's traffic, with as many replications as the problem asks."""
    problem = inputs.load()
    chosen = parse_deployment(deployment, problem)
    outputs.check()
    text = simulation_text(simulate_problem(problem, chosen), problem)
    if outputs.looks.wanted:
        outputs.looks.write(first_run(problem, chosen), _model_name(problem))
    outputs.write(text)
    return ExitCode.SOLVED


def refuse_flags(flags: Mapping[str, object], deployment: str) -> None:
    """A problem with `--deployment` says all that the flags of a run would: none of them may be given."""
    given = [name for name, value in flags.items() if value is not None and name != "seed"]
    if given:
        raise InputError(
            f"--deployment {deployment}: the problem says what {', '.join(given)} would; use --set"
        )


def run_run(
    source: str | None, flags: Mapping[str, object], overrides: tuple[str, ...], outputs: Outputs
) -> ExitCode:
    """Simulate the one run of a file, of flags, or of both; `flags` are keys of a run file."""
    if source is not None and not is_run(source):
        raise InputError(
            f"{source} is no run file: give a problem with --deployment, or a file with model, accelerator, "
            "rate, input_tokens, output_tokens and duration"
        )
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    spec = load_run(source, (*overrides, *given))
    problem = problem_of(spec)
    deployment = deployment_from(deployment_document(spec), problem)
    outputs.check()
    found = simulate_once(spec, problem, deployment)
    if outputs.looks.wanted:
        outputs.looks.write(found.run, _model_name(problem))
    outputs.write(simulation_text(found.simulation, problem))
    return ExitCode.SOLVED


def _model_name(problem: Problem) -> str:
    """As benchmarks would know it: the published repository, else the problem's own name for it."""
    if problem.model.name is None:
        return str(problem.model.config)
    known = catalog.model(problem.model.name).name
    return catalog.model_repository(known) or known
