"""The timeline of a run as a Chrome trace, to look at in Perfetto (ui.perfetto.dev) or chrome://tracing.

The format is Google's "Trace Event Format": one process an instance with one thread an engine, whose steps
are complete events (`X`); one process for the requests, whose phases are nestable asynchronous events (`b`,
`e`) with the request's number as id; counters (`C`) of waiting and running requests. Times are microseconds
with whole nanoseconds, so that steps that touch do not overlap by a rounding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.files import write_whole
from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run
from llmopt_simulator.shares import MOMENTS, PHASES
from llmopt_simulator.steps import logged_steps

Event = dict[str, Any]

REQUESTS_PID = 0
"""The process of the requests; instance i is process i + 1."""


def write_timeline(run: Run, path: str | Path, start_s: float = 0.0, stop_s: float = math.inf) -> None:
    """Write what happened between two times as a Chrome trace (JSON), whole or not at all."""
    events = list(timeline(run, start_s, stop_s))
    document = {"displayTimeUnit": "ms", "traceEvents": events}
    write_whole(Path(path), lambda target: target.write_text(json.dumps(document), encoding="utf-8"))


def timeline(run: Run, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[Event]:
    """The events of steps and requests that overlap [start_s, stop_s); repeats the run for its steps."""
    yield from _names(run)
    yield from _step_events(run, start_s, stop_s)
    chosen = run.finished & (run.column("arrival_s") < stop_s) & (run.column("finish_s") >= start_s)
    for request in np.flatnonzero(chosen):
        yield from _request_events(run, int(request))
    yield from _counters(run, chosen)


def _names(run: Run) -> Iterator[Event]:
    yield _metadata("process_name", REQUESTS_PID, 0, "requests")
    for e, engine in enumerate(run.state.engines):
        pid, pool = int(engine["instance"]) + 1, run.deployment.pools[engine["pool"]]
        yield _metadata("process_name", pid, 0, f"{pool.role} instance {engine['instance']}")
        yield _metadata("thread_name", pid, e + 1, f"engine {e}")


def _metadata(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def _step_events(run: Run, start_s: float, stop_s: float) -> Iterator[Event]:
    steps = logged_steps(run)
    steps = steps[(steps["start_s"] < stop_s) & (steps["end_s"] >= start_s)]
    begin, end = _nanoseconds(steps["start_s"]), _nanoseconds(steps["end_s"])
    for step, begin_ns, end_ns in zip(steps, begin.tolist(), end.tolist(), strict=True):
        yield {
            "ph": "X",
            "name": _kind(step),
            "cat": "step",
            "pid": int(run.state.engines["instance"][step["engine"]]) + 1,
            "tid": int(step["engine"]) + 1,
            "ts": begin_ns / 1000,
            "dur": (end_ns - begin_ns) / 1000,
            "args": {name: int(step[name]) for name in ("decodes", "prefill_tokens", "context", "pages")},
        }


def _kind(step: Any) -> str:
    if step["decodes"] == 0:
        return "prefill"
    return "mixed" if step["prefill_tokens"] else "decode"


def _request_events(run: Run, request: int) -> Iterator[Event]:
    """The request from arrival to finish, and its phases inside; empty phases are left out."""
    q = run.state.requests[request]
    moments = _nanoseconds(np.array([q[name] for name in MOMENTS])).tolist()
    tokens = {name: int(q[name]) for name in ("input_tokens", "output_tokens")}
    yield _edge("b", f"request {request}", request, moments[0]) | {"args": tokens}
    for phase, begin, end in zip(PHASES, moments[:-1], moments[1:], strict=True):
        if end > begin:
            yield _edge("b", phase, request, begin)
            yield _edge("e", phase, request, end)
    yield _edge("e", f"request {request}", request, moments[-1])


def _edge(kind: str, name: str, request: int, time_ns: int) -> Event:
    place = {"cat": "request", "id": request, "pid": REQUESTS_PID, "tid": 0}
    return {"ph": kind, "name": name, "ts": time_ns / 1000, **place}


def _counters(run: Run, chosen: NDArray[np.bool_]) -> Iterator[Event]:
    """How many of the chosen requests wait and how many are being served, at every change."""
    arrival, admitted, finish = (run.column(name)[chosen] for name in ("arrival_s", "admitted_s", "finish_s"))
    times = np.concatenate([arrival, admitted, finish])
    order = np.argsort(times, kind="stable")
    waiting, running = (
        np.repeat(change, len(arrival))[order].cumsum() for change in ([1, -1, 0], [0, 1, -1])
    )
    stamps = _nanoseconds(times[order])
    last = np.append(np.diff(stamps) > 0, np.ones(min(1, len(stamps)), np.bool_))  # one event a moment
    for time_ns, queue, served in zip(stamps[last].tolist(), waiting[last], running[last], strict=True):
        counts = {"waiting": int(queue), "running": int(served)}
        yield {"ph": "C", "name": "requests", "pid": REQUESTS_PID, "ts": time_ns / 1000, "args": counts}


def _nanoseconds(seconds: k.Records) -> NDArray[np.int64]:
    return np.rint(np.asarray(seconds) * 1e9).astype(np.int64)
