"""A second simulator, written on SimPy from the prose of the semantics; no code of kernel or twin is in it.

Users, engines and transfers are processes that wait for one another. It covers routing without caches,
chunked prefill, reservation of KV pages, attention data parallelism, pipeline engines, disaggregation with
shared links, open and closed loop. What happens at one moment is ordered by SimPy's priorities: ends of steps
by engine, transfers that reach their link, transfers that end, arrivals, starts of steps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import simpy

from llmopt_problems.deployment import Deployment, PoolDeployment
from llmopt_problems.traffic.requests import Workload

Law = Callable[[int, int, int, float, int, int], float]
"""b, K, p, A, N, h to seconds."""


@dataclass(eq=False)
class Job:
    number: int
    inputs: int
    outputs: int
    arrival: float = math.nan
    admitted: float = math.nan
    first: float = math.nan
    finish: float = math.nan
    done_inputs: int = 0
    done_outputs: int = 0
    front: Rank | None = None
    back: Rank | None = None


@dataclass(eq=False)
class Rank:
    number: int
    instance: int
    pool: PoolDeployment
    page: int
    pages: int
    engine: Engine
    free: int = 0
    assigned: int = 0
    queue: deque[Job] = field(default_factory=deque)
    prefill: list[Job] = field(default_factory=list)
    decode: list[Job] = field(default_factory=list)
    plan: dict[Job, int] = field(default_factory=dict)

    def pages_of(self, tokens: int) -> int:
        return -(-tokens // self.page)


@dataclass(eq=False)
class Engine:
    number: int
    law: Law
    decodes_only: bool
    bell: simpy.Event
    stages: list[float]
    ranks: list[Rank] = field(default_factory=list)
    busy: float = 0.0


@dataclass(eq=False)
class Copy:
    """A KV transfer on its links."""

    job: Job
    size: float
    left: float
    speed: float = 0.0


class Model:
    def __init__(
        self,
        workload: Workload,
        deployment: Deployment,
        laws: list[Law],
        capacities: list[int],
        pages: list[int],
        link: tuple[float, float, float, float] = (0.0, 1.0, 1.0, 1.0),
    ) -> None:
        self.env = simpy.Environment()
        self.split, self.router = deployment.mode == "disaggregated", deployment.router
        self.latency, self.bytes_per_token, self.sender_speed, self.receiver_speed = link
        rows = zip(workload.requests.input_tokens, workload.requests.output_tokens, strict=True)
        self.jobs = [Job(i, int(inputs), int(outputs)) for i, (inputs, outputs) in enumerate(rows)]
        self.times = [float(t) for t in workload.requests.arrival_s]
        self.engines: list[Engine] = []
        self.ranks: list[list[Rank]] = []
        for pool, law, capacity, page in zip(deployment.pools, laws, capacities, pages, strict=True):
            self.ranks.append(list(self.make_ranks(pool, law, capacity // page, page)))
        self.hall: deque[Job] = deque()  # the central queue
        self.outbox: deque[Job] = deque()  # prefilled, no decode rank yet
        self.copies: list[Copy] = []
        self.copied, self.version, self.turn = 0.0, 0, 0
        self.next_job, self.free_users = 0, workload.concurrency or 0
        self.users_bell = self.env.event()
        self.env.process(self.users() if workload.concurrency else self.arrivals())
        for engine in self.engines:
            self.env.process(self.steps(engine))

    def make_ranks(self, pool: PoolDeployment, law: Law, pages: int, page: int) -> Iterator[Rank]:
        before = sum(len(ranks) for ranks in self.ranks)
        first_instance = self.ranks[0][-1].instance + 1 if self.ranks else 0
        for number in range(pool.engines):
            if number % pool.layout.pp == 0:
                stages = [0.0] * pool.layout.pp  # when each will be free
            engine = Engine(len(self.engines), law, pool.role == "decode", self.env.event(), stages)
            self.engines.append(engine)
            for _ in range(pool.layout.dp):
                rank = Rank(
                    before, first_instance + number // pool.layout.pp, pool, page, pages, engine, pages
                )
                engine.ranks.append(rank)
                before += 1
                yield rank

    def run(self) -> None:
        self.env.run()

    def at(self, priority: int, delay: float = 0.0) -> simpy.Event:
        """An event after `delay`, at its place among the events of that moment."""
        event = simpy.Event(self.env)
        event._ok, event._value = True, None
        self.env.schedule(event, priority, delay)
        return event

    @property
    def order(self) -> dict[str, int]:
        count = len(self.engines)
        return {"link": count, "copied": count + 1, "arrival": count + 2, "start": count + 3}

    # users

    def arrivals(self) -> Iterator[simpy.Event]:
        for job, time in zip(self.jobs, self.times, strict=True):
            yield self.at(self.order["arrival"], time - self.env.now)
            self.enter(job)

    def users(self) -> Iterator[simpy.Event]:
        while self.next_job < len(self.jobs):
            if self.free_users == 0:
                self.users_bell = self.env.event()
                yield self.users_bell
            yield self.at(self.order["arrival"])
            self.free_users -= 1
            self.next_job += 1
            self.enter(self.jobs[self.next_job - 1])

    def leave(self, job: Job) -> None:
        job.finish = self.env.now
        self.user_is_free()

    def user_is_free(self) -> None:
        self.free_users += 1
        if not self.users_bell.triggered:
            self.users_bell.succeed()

    def enter(self, job: Job) -> None:
        job.arrival = self.env.now
        front = self.ranks[0]
        fits = self.front_need(front[0], job) <= front[0].pages
        if self.split:
            back = self.ranks[1][0]
            fits = fits and back.pages_of(job.inputs + job.outputs) <= back.pages
        if not fits:
            self.user_is_free()
        elif self.router == "central_queue":
            self.hall.append(job)
            self.call_in()
        elif self.router == "round_robin":
            self.assign(front[self.turn % len(front)], job)
            self.turn += 1
        else:
            self.assign(min(front, key=lambda rank: rank.assigned), job)

    def call_in(self) -> None:
        while self.hall:
            rank = min(self.ranks[0], key=lambda rank: rank.assigned)
            if rank.assigned == rank.pool.batch_cap:
                break
            self.assign(rank, self.hall.popleft())

    def assign(self, rank: Rank, job: Job) -> None:
        job.front = rank
        rank.assigned += 1
        rank.queue.append(job)
        self.ring(rank.engine)

    def front_need(self, rank: Rank, job: Job) -> int:
        return rank.pages_of(job.inputs if self.split else job.inputs + job.outputs)

    # engines

    def ring(self, engine: Engine) -> None:
        if not engine.bell.triggered:
            engine.bell.succeed()

    def steps(self, engine: Engine) -> Iterator[simpy.Event]:
        while True:
            yield self.at(self.order["start"] + engine.number)
            seconds = self.plan(engine)
            if seconds == 0.0:
                engine.bell = self.env.event()
                yield engine.bell
                continue
            end = self.env.now
            for number, free in enumerate(engine.stages):
                end = max(end, free) + seconds / len(engine.stages)
                engine.stages[number] = end
            engine.busy += end - self.env.now
            yield self.at(engine.number, seconds if len(engine.stages) == 1 else end - self.env.now)
            for rank in engine.ranks:
                self.end_step(rank)

    def plan(self, engine: Engine) -> float:
        """Decide what every rank does; the seconds of the step, 0 when there is nothing to do."""
        for rank in engine.ranks:
            if engine.decodes_only:
                self.join(rank)
            else:
                self.fill(rank)
        batch = max(len(rank.decode) for rank in engine.ranks)
        context = max(sum(j.inputs + j.done_outputs for j in rank.decode) for rank in engine.ranks)
        chunk = max(sum(rank.plan.values()) for rank in engine.ranks)
        total = sum(len(rank.decode) + sum(rank.plan.values()) for rank in engine.ranks)
        heads = max(len(rank.decode) + len(rank.plan) for rank in engine.ranks)
        pairs = max(
            sum(t * job.done_inputs + t * (t + 1) / 2 for job, t in rank.plan.items())
            for rank in engine.ranks
        )
        return engine.law(batch, context, chunk, pairs, total, heads) if total else 0.0

    def join(self, rank: Rank) -> None:
        while rank.queue and len(rank.decode) < rank.pool.batch_cap:
            rank.decode.append(rank.queue.popleft())

    def fill(self, rank: Rank) -> None:
        budget = rank.pool.chunk_tokens - len(rank.decode)
        rank.plan = {}
        for job in rank.prefill:
            budget -= self.take(rank, job, budget)
        while rank.queue and budget > 0 and len(rank.decode) + len(rank.plan) < rank.pool.batch_cap:
            need = self.front_need(rank, rank.queue[0])
            if need > rank.free:
                break
            job = rank.queue.popleft()
            job.admitted = self.env.now
            rank.free -= need
            rank.prefill.append(job)
            budget -= self.take(rank, job, budget)

    def take(self, rank: Rank, job: Job, budget: int) -> int:
        tokens = max(0, min(budget, job.inputs - job.done_inputs))
        if tokens:
            rank.plan[job] = tokens
        return tokens

    def end_step(self, rank: Rank) -> None:
        for job in sorted(rank.decode, key=lambda job: job.number):
            job.done_outputs += 1
            if job.done_outputs == job.outputs:
                rank.decode.remove(job)
                self.complete(job)
        for job, tokens in rank.plan.items():
            job.done_inputs += tokens
            if job.done_inputs == job.inputs:
                rank.prefill.remove(job)
                self.prefilled(rank, job)
        rank.plan = {}

    def prefilled(self, rank: Rank, job: Job) -> None:
        if self.split:
            rank.assigned -= 1
            self.call_in()
            self.outbox.append(job)
            self.send()
            return
        job.first, job.done_outputs = self.env.now, 1
        if job.outputs == 1:
            self.complete(job)
        else:
            rank.decode.append(job)

    def complete(self, job: Job) -> None:
        rank = job.back or job.front
        assert rank is not None
        rank.free += rank.pages_of(job.inputs + job.outputs)
        rank.assigned -= 1
        if self.split:
            self.send()
        else:
            self.call_in()
        self.ring(rank.engine)
        self.leave(job)

    # transfers

    def send(self) -> None:
        while self.outbox:
            job = self.outbox[0]
            roomy = [r for r in self.ranks[1] if r.free >= r.pages_of(job.inputs + job.outputs)]
            if not roomy:
                break
            job.back = min(roomy, key=lambda rank: rank.assigned)
            job.back.free -= job.back.pages_of(job.inputs + job.outputs)
            job.back.assigned += 1
            self.outbox.popleft()
            self.env.process(self.transfer(job))

    def transfer(self, job: Job) -> Iterator[simpy.Event]:
        yield self.at(self.order["link"], self.latency)
        self.progress()
        size = job.inputs * self.bytes_per_token
        self.copies.append(Copy(job, size, size))
        self.share()

    def progress(self) -> None:
        for copy in self.copies:
            copy.left -= copy.speed * (self.env.now - self.copied)
            if copy.left < 1e-12 * copy.size:  # rounding; it ends now
                copy.left = 0.0
        self.copied = self.env.now

    def share(self) -> None:
        for copy in self.copies:
            leaving = sum(self.sender(c) == self.sender(copy) for c in self.copies)
            coming = sum(self.receiver(c) == self.receiver(copy) for c in self.copies)
            copy.speed = min(self.sender_speed / leaving, self.receiver_speed / coming)
        self.version += 1
        if self.copies:
            soonest = min(self.copies, key=lambda c: (c.left / c.speed, c.job.number))
            self.env.process(self.arrive(soonest, self.version))

    def arrive(self, copy: Copy, version: int) -> Iterator[simpy.Event]:
        yield self.at(self.order["copied"], copy.left / copy.speed)
        if version != self.version:
            return
        self.progress()
        self.copies.remove(copy)
        self.share()
        job = copy.job
        assert job.front is not None
        assert job.back is not None
        job.first, job.done_outputs = self.env.now, 1
        job.front.free += job.front.pages_of(job.inputs)
        self.ring(job.front.engine)
        if job.outputs == 1:
            self.complete(job)
        else:
            job.back.queue.append(job)
            self.ring(job.back.engine)

    def sender(self, copy: Copy) -> int:
        assert copy.job.front is not None
        return copy.job.front.instance

    def receiver(self, copy: Copy) -> int:
        assert copy.job.back is not None
        return copy.job.back.instance
