"""Bad input, all of it: a named error that says what, where and what to do, or a counted rejection.

Nothing loops at time zero, and no value is replaced in silence. What files hold is refused by their readers
(`tests/problems`); here are the last lines of it, and what a trace of two million lines costs.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmopt_problems import ProblemError
from llmopt_problems.deployment import (
    Caching,
    Deployment,
    KvGrowth,
    Layout,
    PoolDeployment,
    Routing,
    Scheduling,
)
from llmopt_problems.schema import TraceArrivals
from llmopt_problems.traffic import Workload
from llmopt_problems.traffic.replay import read_trace
from llmopt_simulator import (
    KvTransfer,
    ServiceModel,
    SimulationError,
    SimulationOptions,
    metrics,
    simulate,
)

POOL = PoolDeployment("serve", "x", Layout(), 1, 64, 8)
SPLIT = tuple(replace(POOL, role=role) for role in ("prefill", "decode"))


class Inputs:
    """A run that is in order, and ways to spoil it."""

    def __init__(self, make: Any) -> None:
        self.workload = make.workload([0.0, 1.0, 2.0], [10, 20, 30], 5)
        self.service = make.service(POOL, 1000, 1, 0.1)
        self.one = Deployment("aggregated", (POOL,))
        self.two = Deployment("disaggregated", SPLIT)

    def requests(self, **changes: object) -> tuple[Any, ...]:
        changed = replace(self.workload.requests, **changes)
        return replace(self.workload, requests=changed), self.one, ServiceModel((self.service,))

    def traffic(self, **changes: object) -> tuple[Any, ...]:
        return replace(self.workload, **changes), self.one, ServiceModel((self.service,))

    def deployment(self, **changes: object) -> tuple[Any, ...]:
        return self.workload, replace(self.one, **changes), ServiceModel((self.service,))

    def pool(self, **changes: object) -> tuple[Any, ...]:
        return self.deployment(pools=(replace(POOL, **changes),))

    def routing(self, **changes: object) -> tuple[Any, ...]:
        return self.deployment(routing=replace(Routing(), **changes))

    def scheduling(self, **changes: object) -> tuple[Any, ...]:
        return self.pool(scheduling=replace(Scheduling(), **changes))

    def growth(self, **changes: object) -> tuple[Any, ...]:
        return self.scheduling(growth=replace(KvGrowth(), **changes))

    def of_service(self, **changes: object) -> tuple[Any, ...]:
        return self.workload, self.one, ServiceModel((replace(self.service, **changes),))

    def transfer(self, **changes: object) -> tuple[Any, ...]:
        link = replace(KvTransfer(0.0, 1.0, 1.0, 1.0), **changes)
        return self.workload, self.two, ServiceModel((self.service, self.service), link)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


Spoil = Callable[[Inputs], tuple[Any, ...]]
REFUSED: dict[str, tuple[Spoil, str]] = {
    # requests and their times
    "no requests": (
        lambda i: i.requests(
            arrival_s=np.zeros(0), input_tokens=ints(), output_tokens=ints(), block_offsets=ints(0)
        ),
        "no requests",
    ),
    "a negative time": (lambda i: i.requests(arrival_s=np.array([-1.0, 0.0, 1.0])), "negative"),
    "a missing time": (lambda i: i.requests(arrival_s=np.array([0.0, math.nan, 1.0])), "missing time"),
    "an endless time": (lambda i: i.requests(arrival_s=np.array([0.0, 1.0, math.inf])), "beyond 1e9 s"),
    "a date for a time": (lambda i: i.requests(arrival_s=np.full(3, 1.7e9)), "no date"),
    "unsorted times": (lambda i: i.requests(arrival_s=np.array([0.0, 2.0, 1.0])), "sort by arrival"),
    "times in a column": (lambda i: i.requests(arrival_s=np.zeros((3, 1))), r"arrival_s is float64 of shape"),
    "no input": (lambda i: i.requests(input_tokens=ints(10, 0, 1)), "request 1 has input_tokens = 0"),
    "no output": (lambda i: i.requests(output_tokens=ints(1, 1, 0)), "request 2 has output_tokens = 0"),
    "negative lengths": (lambda i: i.requests(input_tokens=ints(-5, 1, 1)), "input_tokens = -5"),
    "lengths beyond counting": (lambda i: i.requests(output_tokens=ints(1, 1, 2**31)), "from 1 to 2"),
    "fractional lengths": (lambda i: i.requests(input_tokens=np.array([1.5, 2.0, 3.0])), "whole numbers"),
    "missing lengths": (lambda i: i.requests(output_tokens=np.array([1.0, math.nan, 1.0])), "whole numbers"),
    "lengths for fewer requests": (lambda i: i.requests(input_tokens=ints(1, 2)), "2 entries for 3"),
    "offsets that fall": (
        lambda i: i.requests(block_offsets=ints(0, 2, 1, 2), block_ids=ints(0, 1)),
        "never fall",
    ),
    "offsets that end early": (lambda i: i.requests(block_ids=ints(0)), "up to block_ids"),
    "more blocks than input": (
        lambda i: i.requests(block_offsets=ints(0, 11, 11, 11), block_ids=np.arange(11)),
        "name full blocks only",
    ),
    "a negative block": (
        lambda i: i.requests(block_offsets=ints(0, 1, 1, 1), block_ids=ints(-3)),
        "block id -3 is negative",
    ),
    "empty blocks": (lambda i: i.requests(block_tokens=0), "at least one token"),
    "a negative class": (lambda i: i.requests(class_ids=ints(0, -1, 0)), "give one each, from 0"),
    "classes for fewer requests": (lambda i: i.requests(class_ids=ints(0)), "1 entries for 3"),
    # who sends them
    "no users": (lambda i: i.traffic(concurrency=0), "at least one"),
    "half a user": (lambda i: i.traffic(concurrency=0.5), "whole number of users"),
    "users that are no number": (lambda i: i.traffic(concurrency=math.nan), "whole number of users"),
    "negative thought": (lambda i: i.traffic(think_s=np.array([0.0, -1.0, 0.0])), "think_s holds a negative"),
    "endless thought": (lambda i: i.traffic(think_s=np.array([0.0, math.inf, 0.0])), "infinite"),
    "a turn before its answer": (lambda i: i.traffic(follows=ints(-1, 2, -1)), "request 1 follows request 2"),
    "a turn after itself": (lambda i: i.traffic(follows=ints(0, -1, -1)), "name an earlier one"),
    # deployments
    "no pools": (lambda i: i.deployment(pools=()), "the pools serve, not none"),
    "pools of the other mode": (
        lambda i: i.deployment(pools=SPLIT),
        "the pools serve, not prefill, decode",
    ),
    "decode before prefill": (
        lambda i: (i.workload, replace(i.two, pools=SPLIT[::-1]), i.transfer()[2]),
        "the pools prefill, decode, not decode, prefill",
    ),
    "an unknown mode": (lambda i: i.deployment(mode="both"), "mode = 'both': choose one of"),
    "an unknown router": (lambda i: i.deployment(router="best"), "router = 'best': choose one of"),
    "an unknown eviction": (lambda i: i.deployment(caching=Caching("mru")), "eviction = 'mru': choose"),  # type: ignore[arg-type]
    "no instances": (lambda i: i.pool(instances=0), "instances = 0"),
    "too many instances": (lambda i: i.pool(instances=10**8), "100000000 ranks"),
    "no chunk": (lambda i: i.pool(chunk_tokens=0), "chunk_tokens = 0"),
    "a negative chunk": (lambda i: i.pool(chunk_tokens=-8), "chunk_tokens = -8"),
    "a fractional chunk": (lambda i: i.pool(chunk_tokens=2.5), "chunk_tokens = 2.5: give a whole number"),
    "no batch": (lambda i: i.pool(batch_cap=0), "batch_cap = 0"),
    "a batch beyond counting": (lambda i: i.pool(batch_cap=2**40), "from 1 to 2"),
    "a batch that is no number": (lambda i: i.pool(batch_cap=math.nan), "batch_cap = nan"),
    "no accelerators": (lambda i: i.pool(layout=Layout(tp=0)), "tp = 0"),
    "attention split beyond tp": (lambda i: i.pool(layout=Layout(tp=2, dp=4)), "multiple of dp and of ep"),
    "experts that do not divide": (lambda i: i.pool(layout=Layout(tp=4, ep=3)), "multiple of dp and of ep"),
    "an unknown mixing": (lambda i: i.scheduling(mixing="both"), "mixing = 'both'"),
    "an unknown order": (lambda i: i.scheduling(order="lifo"), "order = 'lifo'"),
    "a negative window": (lambda i: i.scheduling(window_s=-1.0), "window_s = -1.0"),
    "an endless window": (lambda i: i.scheduling(window_s=math.inf), "window_s = inf"),
    "a window of none": (lambda i: i.scheduling(window_requests=0), "window_requests = 0"),
    "a negative overhead": (lambda i: i.scheduling(step_overhead_s=-0.1), "step_overhead_s = -0.1"),
    "an overhead that is no number": (lambda i: i.scheduling(step_overhead_s=math.nan), "step_overhead_s"),
    "a queue that takes nobody": (lambda i: i.scheduling(queue_limit=0), "nothing would be served"),
    "a share beyond 1": (lambda i: i.growth(conservativeness=1.5), "conservativeness = 1.5"),
    "a share that is no number": (lambda i: i.growth(conservativeness=math.nan), "conservativeness = nan"),
    "a floor above its start": (lambda i: i.growth(conservativeness_floor=0.5), "conservativeness_floor"),
    "no decay": (lambda i: i.growth(decay_steps=0), "decay_steps = 0"),
    "a watermark of everything": (lambda i: i.growth(watermark=1.0), "watermark = 1.0"),
    # routing
    "a threshold that is no number": (lambda i: i.routing(cache_threshold=math.nan), "cache_threshold = nan"),
    "a negative balance": (lambda i: i.routing(balance_abs_threshold=-1.0), "balance_abs_threshold = -1.0"),
    "an endless interval": (lambda i: i.routing(eviction_interval_s=math.inf), "eviction_interval_s = inf"),
    "a policy of nobody": (lambda i: i.routing(decode="cache_aware"), "decode = 'cache_aware'"),
    # services
    "services for fewer pools": (
        lambda i: (i.workload, i.two, ServiceModel((i.service,), KvTransfer(0.0, 1.0, 1.0, 1.0))),
        "1 pool services for 2 pools",
    ),
    "negative capacity": (lambda i: i.of_service(kv_capacity_tokens=-1), "kv_capacity_tokens = -1"),
    "capacity that is no number": (lambda i: i.of_service(kv_capacity_tokens=math.nan), "whole number"),
    "capacity beyond counting": (lambda i: i.of_service(kv_capacity_tokens=2**70), "0 to 2"),
    "empty pages": (lambda i: i.of_service(page_tokens=0), "page_tokens = 0"),
    "pages beyond measure": (lambda i: i.of_service(page_tokens=2**20), "65536 at most"),
    "no transfer": (
        lambda i: (i.workload, i.two, ServiceModel((i.service, i.service))),
        "without a KV transfer",
    ),
    "a negative latency": (lambda i: i.transfer(latency_s=-1.0), "negative, infinite or missing latency"),
    "an endless latency": (lambda i: i.transfer(latency_s=math.inf), "infinite"),
    "a size that is no number": (lambda i: i.transfer(bytes_per_token=math.nan), "missing latency or size"),
    "no bandwidth": (lambda i: i.transfer(sender_bytes_per_s=0.0), "never delivers"),
    "bandwidth that is no number": (lambda i: i.transfer(receiver_bytes_per_s=math.nan), "never delivers"),
    "a transfer longer than time": (lambda i: i.transfer(bytes_per_token=1e300), "moves the clock"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_run_is_refused(make: Any, name: str) -> None:
    spoil, message = REFUSED[name]
    with pytest.raises(SimulationError, match=message) as caught:
        simulate(*spoil(Inputs(make)))
    assert len(str(caught.value)) > len(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SimulationOptions(warmup_fraction=1.0), r"in \[0, 1\)"),
        (SimulationOptions(warmup_fraction=math.nan), "warmup_fraction is nan"),
    ],
)
def test_options_are_refused(make: Any, options: SimulationOptions, message: str) -> None:
    good = Inputs(make)
    with pytest.raises(SimulationError, match=message):
        simulate(good.workload, good.one, ServiceModel((good.service,)), 0, options)


@pytest.mark.parametrize("seed", [-1, 1.5, math.nan])
def test_seeds_are_refused(make: Any, seed: Any) -> None:
    good = Inputs(make)
    with pytest.raises(SimulationError, match="seed is"):
        simulate(good.workload, good.one, ServiceModel((good.service,)), seed)


@pytest.mark.parametrize(
    ("constant", "per_token", "message"),
    [
        (0.0, 0.0, "moves the clock"),  # nothing takes time: a loop at time zero
        (1e-300, 0.0, "moves the clock"),  # below what the clock resolves after the first second
        (math.nan, 0.0, "moves the clock"),
        (-1.0, 0.0, "moves the clock"),
        (math.inf, 0.0, "moves the clock"),
    ],
)
def test_steps_without_duration_are_refused(
    make: Any, constant: float, per_token: float, message: str
) -> None:
    good = Inputs(make)
    step = replace(good.service.step, constant=np.array([constant, 0.0, 0.0, 0.0]))
    late = replace(good.workload.requests, arrival_s=np.array([1.0, 1.0, 1.0]))
    with pytest.raises(SimulationError, match=message):
        simulate(Workload(late, None), good.one, ServiceModel((replace(good.service, step=step),)))


def test_a_chunk_larger_than_its_tables_is_refused(make: Any) -> None:
    """A step law that was compiled for 64 tokens says so, and with what bounds to compile it."""
    good = Inputs(make)
    long = replace(good.workload.requests, input_tokens=ints(500, 500, 500))
    wide = Deployment("aggregated", (replace(POOL, chunk_tokens=4096),))
    with pytest.raises(SimulationError, match=r"p = 500.*step_bounds\(pool\)"):
        simulate(Workload(long, None), wide, ServiceModel((good.service,)))


@pytest.mark.parametrize("capacity", [0, 1, 14])
@pytest.mark.parametrize("growth", [None, KvGrowth()])
def test_requests_longer_than_the_kv_space_are_counted(
    make: Any, capacity: int, growth: KvGrowth | None
) -> None:
    """They are rejected when they arrive, and cost no time."""
    good = Inputs(make)
    pool = replace(POOL, scheduling=Scheduling(growth=growth))
    service = replace(good.service, kv_capacity_tokens=capacity)
    run = simulate(good.workload, Deployment("aggregated", (pool,)), ServiceModel((service,)))
    assert not run.finished.any()
    assert metrics(run)["rejected_share"] == 1.0
    assert run.makespan_s == 2.0  # the last arrival
    assert math.isinf(metrics(run)["ttft_p50_s"])


def test_a_closed_loop_of_impossible_requests_ends(make: Any) -> None:
    """Every user sends the next request at once, all at time zero: each is rejected, once."""
    good = Inputs(make)
    service = replace(good.service, kv_capacity_tokens=0)
    workload = replace(good.workload, concurrency=2, think_s=None)
    run = simulate(workload, good.one, ServiceModel((service,)))
    assert not run.finished.any()
    assert run.makespan_s == 0.0


def test_more_users_and_larger_batches_than_requests_are_fine(make: Any) -> None:
    good = Inputs(make)
    wide = Deployment("aggregated", (replace(POOL, batch_cap=2**31 - 1, chunk_tokens=64),))
    run = simulate(replace(good.workload, concurrency=2**40), wide, ServiceModel((good.service,)))
    assert run.finished.all()


TRACES = {
    "mooncake": '{"timestamp": 1, "input_length": 9, "output_length": 5, "hash_ids": [1]}\n',
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens\n5,m,10,20\n",
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,20\n",
    "llmopt": '{"format": "llmopt-workload", "version": 1, "block_tokens": 16}\n'
    '{"arrival_s": 0.5, "input_tokens": 9, "output_tokens": 5, "blocks": []}\n',
}


def trace(tmp_path: Path, kind: str, text: str) -> TraceArrivals:
    file = tmp_path / "trace"
    file.write_text(text, encoding="utf-8")
    return TraceArrivals.model_validate({"process": "trace", "file": str(file), "format": kind})


@pytest.mark.parametrize("kind", list(TRACES))
@pytest.mark.parametrize("damage", ["cut", "garbage", "negative", "nothing"])
def test_damaged_traces_are_refused_at_their_line(tmp_path: Path, kind: str, damage: str) -> None:
    """The last line is cut in half, is no text, has a negative length, or nothing is left at all."""
    *head, last = TRACES[kind].splitlines()
    spoilt = {
        "cut": last[: len(last) // 2],
        "garbage": "\x00\x01\ufffd{",
        "negative": last.replace("10", "-10").replace(": 9", ": -9"),
    }
    text = "" if damage == "nothing" else "\n".join([*head, last, spoilt[damage]]) + "\n"
    with pytest.raises(ProblemError) as caught:
        read_trace(trace(tmp_path, kind, text))
    assert caught.value.line == (1 if damage == "nothing" else len(head) + 2)
    assert caught.value.remedy


BYTES_PER_LINE = 100
"""What reading may hold at its peak, a line: five numbers of eight bytes, and some while they grow."""
MEASURE = """
import resource, sys
from llmopt_problems.schema import TraceArrivals
from llmopt_problems.traffic.replay import read_trace
section = {"process": "trace", "file": sys.argv[1], "format": "vidur"}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = len(read_trace(TraceArrivals.model_validate(section)))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / count)
"""


def long_trace(tmp_path: Path, count: int) -> Path:
    """A trace of that many lines."""
    file = tmp_path / "long.csv"
    with file.open("w") as out:
        out.write("arrived_at,num_prefill_tokens,num_decode_tokens\n")
        out.writelines(f"{i * 0.01},{i % 4000 + 1},{i % 700 + 1}\n" for i in range(count))
    return file


def test_a_long_trace_is_streamed(tmp_path: Path) -> None:
    """What Python allocates while it reads, its lines never together."""
    file, count = long_trace(tmp_path, 10_000), 10_000
    section = TraceArrivals.model_validate({"process": "trace", "file": str(file), "format": "vidur"})
    tracemalloc.start()
    try:
        requests = read_trace(section)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(requests) == count
    assert 32 * count <= peak <= BYTES_PER_LINE * count + 500_000  # buffers of the file and of the reader


@pytest.mark.slow
def test_a_trace_of_two_million_lines_is_streamed(tmp_path: Path) -> None:
    """Peak memory of a process that reads it."""
    command = [sys.executable, "-c", MEASURE, str(long_trace(tmp_path, 2_000_000))]
    count, used = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    print(f"{float(used):.0f} bytes a line")
    assert int(count) == 2_000_000
    assert 32.0 <= float(used) <= BYTES_PER_LINE
