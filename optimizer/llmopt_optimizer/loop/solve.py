"""Solving a problem and simulating a single deployment: the two things that a user asks for.

A solve works in a thread of its own and publishes each consistent ledger; whoever asked waits beside it. So
the time limit and an interrupt are answered at once, with the best that was verified and the gap that is
left, whatever a solver or a simulation is busy with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread

from llmopt_calibration.step.rules import layout_violations
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.conclusion import concluded
from llmopt_optimizer.loop.ledger import Ledger, Tell
from llmopt_optimizer.loop.observation import Observation
from llmopt_optimizer.loop.replicating import workload_source
from llmopt_optimizer.loop.rounds import run_rounds
from llmopt_optimizer.loop.service import service_model, workbench
from llmopt_optimizer.loop.simulation import StoppedError, simulations
from llmopt_optimizer.loop.store import Store
from llmopt_optimizer.loop.study import Study, open_study
from llmopt_optimizer.loop.workers import Workers, here
from llmopt_optimizer.result import Progress, Result, Status
from llmopt_optimizer.scenario import Scenario, resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment
from llmopt_simulator import Run, simulate
from llmopt_simulator.replication import replication_seed

GRACE_S = 0.5
"""Wait beyond the time limit for a solve that is about to end by itself."""
EXPLANATION_S = 60.0
"""Longest time for explaining why nothing is feasible."""


class SolveInterrupted(KeyboardInterrupt):
    """Ctrl-C during a solve; `result` is what was verified until then."""

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted")
        self.result = result


def solve_problem(
    problem: Problem,
    *,
    progress: Tell | None = None,
    caches: tuple[Path, ...] = (),
    workers: Workers | None = None,
) -> Result:
    """The verified Pareto-optimal deployments of `problem`, within `problem.limits.time_s` of wall-clock
    time.

    `progress` is told, from another thread, what is being done. Simulations are read from the folders
    `caches` and stored there; `workers` run them, by default threads. Raises `ProblemError` for names
    that no catalog has and `SolveInterrupted` on Ctrl-C.
    """
    work = _Work(problem, progress or (lambda _: None), Store(caches), workers or here())
    Thread(target=work.run, daemon=True).start()
    try:
        work.done.wait(problem.limits.time_s + GRACE_S)
    except KeyboardInterrupt as interrupt:
        work.stop()
        raise SolveInterrupted(work.so_far("It was interrupted: --resume goes on.")) from interrupt
    if work.error is not None:
        raise work.error
    work.stop()
    return work.result or work.so_far("")


@dataclass(slots=True)
class _Work:
    """One solve in progress, shared by the thread that works and the one that waits."""

    problem: Problem
    tell: Tell
    store: Store
    workers: Workers
    started: float = field(default_factory=time.monotonic)
    study: Study | None = None
    ledger: Ledger | None = None
    result: Result | None = None
    error: Exception | None = None
    done: Event = field(default_factory=Event)
    stopped: Event = field(default_factory=Event)

    @property
    def deadline(self) -> float:
        return self.started + self.problem.limits.time_s

    def run(self) -> None:
        try:
            self.result = self._solved()
        except StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            self.error = error
        self.done.set()

    def stop(self) -> None:
        """Let the working thread end at its next step."""
        self.stopped.set()
        if self.study is not None:
            self.study.simulations.stopped.set()

    def so_far(self, interrupted: str) -> Result:
        """The result of the last ledger that was published; `interrupted` says why the search ended."""
        seconds = time.monotonic() - self.started
        if self.study is None or self.ledger is None:
            message = "before any deployment was simulated: raise limits.time."
            return _nothing(self.problem, interrupted or f"The time limit came {message}", seconds)
        timed_out = replace(self.ledger, timed_out=not self.ledger.finished)
        result = concluded(self.study, timed_out, seconds, 0.0)
        return replace(result, message=f"{interrupted} {result.message}") if interrupted else result

    def _solved(self) -> Result:
        self._heard(Progress("building expressions", 0.01))
        self.study, frozen = open_study(resolve(self.problem), self.store, self.workers)
        self._published(Ledger(frozen))
        ledger = self._searched(self.study, frozen)
        self._published(ledger)
        now = time.monotonic()
        spare_s = min(EXPLANATION_S, max(0.0, self.deadline - now))
        result = concluded(self.study, ledger, now - self.started, spare_s)
        self._heard(Progress("done", 1.0))
        return replace(result, seconds=time.monotonic() - self.started)

    def _searched(self, study: Study, frozen: Frozen) -> Ledger:
        return run_rounds(study, frozen, self.deadline, self._heard, self._published)

    def _heard(self, progress: Progress) -> None:
        if self.stopped.is_set():
            raise StoppedError
        self.tell(progress)

    def _published(self, ledger: Ledger) -> None:
        self.ledger = ledger


def _nothing(problem: Problem, message: str, seconds: float) -> Result:
    return Result(
        problem_name=problem.name,
        status=Status.FAILED,
        message=message,
        objectives=tuple(objective.key for objective in problem.objectives),
        senses=tuple(objective.sense for objective in problem.objectives),
        seconds=seconds,
    )


def simulate_problem(problem: Problem, deployment: Deployment) -> Observation:
    """What simulation says of `deployment` under the traffic of `problem`.

    Raises `DeploymentError` when the deployment breaks a rule of the engine or does not fit its accelerators.
    """
    scenario = resolve(problem)
    require_valid(scenario, deployment)
    (found,) = simulations(workbench(scenario)).observe([deployment])
    assert found is not None  # without a deadline every deployment is simulated
    return found


def first_run(problem: Problem, deployment: Deployment) -> Run:
    """The first of the runs that `simulate_problem` draws its numbers from; raises as it does."""
    scenario = resolve(problem)
    require_valid(scenario, deployment)
    service = service_model(workbench(scenario), deployment)
    seed = replication_seed(problem.verification.seed, 0)
    return simulate(workload_source(problem)(seed), deployment, service, seed)


def require_valid(scenario: Scenario, deployment: Deployment) -> None:
    """Raise `DeploymentError` for accelerators that are not on offer and layouts that the model refuses."""
    offered = {site.accelerator.name for site in scenario.sites}
    for pool in deployment.pools:
        if pool.accelerator not in offered:
            raise DeploymentError(
                f"{pool.role} pool: the problem offers {', '.join(sorted(offered))}, not {pool.accelerator}: "
                "add it under hardware.accelerators or choose another"
            )
        copies = scenario.redundant_experts
        broken = layout_violations(scenario.model, pool.layout, scenario.precision.weights, copies)
        if broken:
            raise DeploymentError(f"{pool.role} pool: " + "; ".join(broken))
