"""`llmopt serve`: a server that answers as a deployment would, for load generators to measure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from llmopt_optimizer.cli.deployment_text import parse_deployment
from llmopt_optimizer.cli.outcome import ExitCode, InputError
from llmopt_optimizer.loop.service import service_model, workbench
from llmopt_optimizer.loop.solve import require_valid
from llmopt_optimizer.output.record import read_document
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem, catalog, load
from llmopt_problems.deployment import Deployment
from llmopt_simulator.live import LiveRun, live_run


@dataclass(frozen=True, slots=True)
class Serving:
    """The arguments of the command."""

    source: str
    deployment: str | None
    point: int
    host: str
    port: int
    token: str | None
    speed: float
    requests: int
    characters_per_token: float
    streams: int
    requests_per_s: float
    overrides: tuple[str, ...]


def run_serve(asked: Serving) -> ExitCode:
    """Serve until interrupted."""
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise InputError(f"{package} is not installed: pip install 'llmopt[serve]'")
    from llmopt_optimizer.serving.app import Limits, application
    from llmopt_optimizer.serving.clock import Pump
    from llmopt_optimizer.serving.server import Address, BindError, bound, serve

    address = Address(asked.host, asked.port)
    if not address.is_loopback and asked.token is None:
        raise InputError(f"--host {asked.host} can be reached from outside: give --token")
    problem, deployment = _chosen(asked)
    limits = Limits(streams=asked.streams, requests_per_s=asked.requests_per_s, token=asked.token)
    pump = Pump(_runs(problem, deployment, asked.requests), asked.speed)
    app = application(pump, limits, _model_name(problem), asked.characters_per_token)
    try:
        listener = bound(address)
    except BindError as error:
        raise InputError(str(error)) from error
    host, port = listener.getsockname()[:2]
    print(f"serving http://{host}:{port} (simulated: texts mean nothing); Ctrl-C ends it", file=sys.stderr)
    serve(app, listener)
    return ExitCode.SOLVED


def _runs(problem: Problem, deployment: Deployment, requests: int) -> Callable[[], LiveRun]:
    """Lays out empty runs of one deployment."""
    scenario = resolve(problem)
    require_valid(scenario, deployment)
    service = service_model(workbench(scenario), deployment)
    return partial(live_run, deployment, service, requests, problem.verification.seed)


def _chosen(asked: Serving) -> tuple[Problem, Deployment]:
    """A problem with `--deployment`, or a deployment of a stored front."""
    if asked.deployment is not None:
        problem = load(asked.source, asked.overrides)
        return problem, parse_deployment(asked.deployment, problem)
    if asked.overrides:
        raise InputError("--set changes a problem, which is given with --deployment; a result stays as it is")
    path = Path(asked.source)
    if path.suffix != ".json" and not path.is_dir():
        raise InputError(f"{asked.source}: give a problem with --deployment, or the result of a solve")
    document = read_document(path)
    front = document.result.front
    if asked.point > len(front):
        raise InputError(f"--point {asked.point}: the front has {len(front)} deployments, counted from 1")
    return Problem.model_validate(document.problem), front[asked.point - 1].deployment


def _model_name(problem: Problem) -> str:
    if problem.model.name is None:
        return str(problem.model.config)
    return catalog.model_repository(catalog.model(problem.model.name).name) or problem.model.name
