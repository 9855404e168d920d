"""Where replications run decides nothing: all places measure the same, also when a worker dies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from optimizer_loop_cases import SMALL, problem_of
from optimizer_workers_tasks import dies, dies_once, refused, square

from llmopt_optimizer.errors import WorkersError
from llmopt_optimizer.loop import workers
from llmopt_optimizer.loop.service import workbench
from llmopt_optimizer.loop.simulation import simulations
from llmopt_optimizer.loop.workers import LOSSES, Place, here, place, workers_at
from llmopt_optimizer.scenario import resolve
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment

DEPLOYMENTS = tuple(
    Deployment("aggregated", (PoolDeployment("serve", "H100-SXM", Layout(tp=tp), n, 512, cap),))
    for tp in (1, 2)
    for n in (1, 2)
    for cap in (16, 64)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threads", Place("threads")),
        ("threads:3", Place("threads", workers=3)),
        ("processes:12", Place("processes", workers=12)),
        ("ray://", Place("ray")),
        ("ray://head.cluster:10001", Place("ray", "head.cluster:10001")),
        ("dask://10.0.0.1:8786", Place("dask", "10.0.0.1:8786")),
    ],
)
def test_a_place_is_read_from_its_text(text: str, expected: Place) -> None:
    assert place(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "thread",
        "threads:0",
        "processes:-1",
        "dask://",
        "dask://host",
        "ray:head",
        "spark://a:1",
        "ray://a:b",
    ],
)
def test_what_is_no_place_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(WorkersError, match="write threads, processes"):
        place(text)


def test_nobody_at_the_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CONNECTING_S", 0.5)
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with (
        pytest.raises(WorkersError, match="no Dask scheduler answers"),
        workers_at(place("dask://127.0.0.1:9")),
    ):
        pass


def test_threads_keep_order_raise_and_stop_when_told() -> None:
    assert here().map(square, range(50)) == [n * n for n in range(50)]
    with pytest.raises(ValueError, match="no 0"):
        here().map(refused, [0])
    left = iter([True] * 5 + [False] * 100)
    assert here().map(square, range(50), lambda: next(left)) == [0, 1, 4, 9, 16]
    assert here().map(square, [], lambda: False) == []


def test_a_lost_process_loses_nothing(tmp_path: Path) -> None:
    with workers_at(place("processes:2")) as pool:
        run = partial(dies_once, tmp_path / "died")
        assert pool.map(run, range(20)) == [n * n for n in range(20)]
        assert (tmp_path / "died").exists()
        with pytest.raises(WorkersError, match=f"lost {LOSSES} times in a row"):
            pool.map(dies, [1])


def observed(where: str) -> str:
    """Everything that simulations of the deployments say, to the last digit."""
    bench = workbench(resolve(problem_of(SMALL)))
    with workers_at(place(where)) as pool:
        runs = simulations(bench, workers=pool)
        found = runs.observe(DEPLOYMENTS)
    assert runs.runs >= 3 * len(DEPLOYMENTS)
    return repr([(each.metrics, each.frozen) for each in found if each is not None])


def test_processes_measure_what_threads_measure() -> None:
    assert observed("processes:2") == observed("threads:2") == observed("threads:1")


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that can import this module."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The first line that holds a text; what comes after it is read away, so that the pipe does not fill."""
    assert process.stdout is not None
    found = next((line for line in process.stdout if text in line), "")
    assert found, f"{process.args} ended without saying {text}"
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return found


def measures_the_same_and_may_lose_a_worker(where: str, marker: Path) -> None:
    assert observed(where) == observed("threads")
    with workers_at(place(where)) as pool:
        assert pool.map(partial(dies_once, marker), range(20)) == [n * n for n in range(20)]
    assert marker.exists()


@pytest.mark.slow
def test_a_dask_cluster(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    quiet = ("--host", "127.0.0.1", "--no-dashboard")
    with started("distributed.cli.dask_scheduler", *quiet, "--port", "0") as scheduler:
        address = line_with(scheduler, "Scheduler at:").split("tcp://")[1].strip()
        two = ("--nthreads", "1", "--nworkers", "2")
        with started("distributed.cli.dask_worker", f"tcp://{address}", *quiet, *two) as pool:
            line_with(pool, "Registered to")
            measures_the_same_and_may_lose_a_worker(f"dask://{address}", tmp_path / "died")


@pytest.mark.slow
def test_a_ray_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = ("--head", "--block", "--num-cpus", "2", "--port", "0", "--include-dashboard", "false")
    client = ("--ray-client-server-port", str(port), "--disable-usage-stats")
    with started("ray.scripts.scripts", "start", *head, *client) as cluster:
        line_with(cluster, "Ray runtime started")
        measures_the_same_and_may_lose_a_worker(f"ray://127.0.0.1:{port}", tmp_path / "died")
