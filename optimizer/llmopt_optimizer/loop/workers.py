"""Where replications run: in threads of this process, in processes of this machine, or on a cluster.

joblib carries the work to all of them. A `Workers` runs a function on many items and gives what it returned,
in order, so results are the same wherever they come from. When a worker dies its whole call is run again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import BrokenProcessPool

from llmopt_optimizer.errors import WorkersError

Item = TypeVar("Item")
Found = TypeVar("Found")
Kind = Literal["threads", "processes", "ray", "dask"]

CONNECTING_S = 10.0
"""How long a cluster may take to answer."""
LOSSES = 5
"""How often in a row workers may be lost before a map gives up."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where workers are: `threads`, `processes`, or the address of a cluster that runs already."""

    kind: Kind = "threads"
    address: str = ""
    workers: int = 0
    """How many; 0: one a core. A cluster has as many as it has cores."""

    @property
    def shares_memory(self) -> bool:
        """Whether workers see the objects of this process."""
        return self.kind == "threads"


def place(text: str) -> Place:
    """Read `threads`, `processes`, either with `:COUNT`, `ray://[HOST:PORT]` or `dask://HOST:PORT`.

    Raises `WorkersError` for anything else.
    """
    local = re.fullmatch(r"(threads|processes)(?::([1-9]\d{0,3}))?", text)
    if local is not None:
        return Place(_kind(local[1]), workers=int(local[2] or 0))
    cluster = re.fullmatch(r"(ray|dask)://([\w.\-]+:\d+|\[[0-9a-fA-F:]+\]:\d+)?", text)
    if cluster is None or (cluster[1] == "dask" and not cluster[2]):
        raise WorkersError(
            f"{text!r} is no place for workers: write threads, processes, threads:COUNT, processes:COUNT, "
            "ray://HOST:PORT (ray:// for the cluster of this machine) or dask://HOST:PORT"
        )
    return Place(_kind(cluster[1]), address=cluster[2] or "")


def _kind(text: str) -> Kind:
    return next(kind for kind in get_args(Kind) if kind == text)


@dataclass(slots=True)
class Workers:
    """Workers at a place; `here()` gives threads, `workers_at` any."""

    made: Callable[[], Parallel]
    count: int
    shares_memory: bool
    losses: tuple[type[Exception], ...] = ()
    """Errors that say that a worker was lost."""
    pool: Parallel | None = None
    """Open between calls, since starting processes takes time; threads are let go."""

    def map(
        self,
        run: Callable[[Item], Found],
        items: Iterable[Item],
        go_on: Callable[[], bool] = lambda: True,
    ) -> list[Found]:
        """`run(item)` of the items in order, up to the first that nobody began because `go_on()` was false.

        Raises what `run` raises, and `WorkersError` when workers are lost again and again.
        """
        waiting = list(items)
        for _ in range(LOSSES):
            try:
                with self._opened() as pool:
                    return list(pool(delayed(run)(item) for item in _while(go_on, waiting)))
            except self.losses as error:
                lost = error
        raise WorkersError(
            f"workers were lost {LOSSES} times in a row ({lost}): see that they have enough memory"
        ) from lost

    @contextmanager
    def _opened(self) -> Iterator[Parallel]:
        """A pool. One whose call failed is not used again: joblib would give its late results to the next."""
        if self.pool is None:
            self.pool = self.made().__enter__()
        try:
            yield self.pool
        except BaseException:
            self.close()
            raise
        if self.shares_memory:
            self.close()

    def close(self) -> None:
        """Let the workers go."""
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


def _while(go_on: Callable[[], bool], items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if not go_on():
            return
        yield item


def here() -> Workers:
    """One thread a core. The kernel runs without the interpreter's lock, so that threads are enough."""
    return _workers(Place(), cpu_count(), {})


@contextmanager
def workers_at(where: Place) -> Iterator[Workers]:
    """The workers at a place, which are let go at the end.

    Raises `WorkersError` where a cluster's package is missing or nobody answers at its address.
    """
    with ExitStack() as stack:
        count, options = where.workers or cpu_count(), {}
        if where.kind == "dask":
            client = stack.enter_context(_dask_client(where.address))
            count, options = sum(client.ncores().values()), {"client": client}
        elif where.kind == "ray":
            count = _ray_cores(where.address, stack)
        yield stack.enter_context(closing(_workers(where, count, options)))


def _workers(where: Place, count: int, options: Mapping[str, Any]) -> Workers:
    backend = {"threads": "threading", "processes": "loky"}.get(where.kind, where.kind)
    return Workers(partial(_pool, count, backend, options), count, where.shares_memory, _losses(where.kind))


def _pool(count: int, backend: str, options: Mapping[str, Any]) -> Parallel:
    with parallel_config(backend=backend, **options):  # loads backends that joblib itself does not have
        return Parallel(count)


def _dask_client(address: str) -> Any:
    distributed = _package("distributed", "dask")
    try:
        client = distributed.Client(address, timeout=CONNECTING_S, set_as_default=False)
    except OSError as error:
        raise WorkersError(f"no Dask scheduler answers at {address}: {error}") from error
    if not client.ncores():
        client.close()
        raise WorkersError(f"the Dask cluster at {address} has no workers: start some (dask worker …)")
    return client


def _ray_cores(address: str, stack: ExitStack) -> int:
    ray = _package("ray", "ray")
    at = f"ray://{address}" if address else "auto"
    try:
        ray.init(at, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise WorkersError(f"no Ray cluster answers at {at}: {error}") from error
    stack.callback(ray.shutdown)
    import_module("ray.util.joblib").register_ray()
    return int(ray.cluster_resources().get("CPU", 1))


def _losses(kind: Kind) -> tuple[type[Exception], ...]:
    if kind == "ray":
        errors = import_module("ray.exceptions")
        return (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError)
    if kind == "dask":
        return (import_module("distributed").KilledWorker, import_module("asyncio").CancelledError)
    return (BrokenProcessPool,)


def _package(name: str, extra: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise WorkersError(f"{extra}:// needs the package {name}: pip install 'llmopt[{extra}]'") from error
