"""The simulator's twin: slow, obvious Python, written from the semantics and sharing no code with the kernel.

Requests, ranks and engines are objects; nothing runs ahead; every engine that is idle tries to start at every
moment. What a rank does in a step is in `twin_ranks`, links are in `twin_links`, the router in `twin_router`:
load them first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from simulator_twin_arrivals import Arrivals, requests_of
from simulator_twin_links import Flow, Links, Making
from simulator_twin_places import Map
from simulator_twin_ranks import Batching, Engine, Rank, Request
from simulator_twin_router import Router
from simulator_twin_speculation import step_seconds, tokens_made

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator.service import HostTier, KvTransfer

StepSeconds = Callable[..., float]
"""b, K, p, A, N, h, C, Q of a step, and tokens that a decode has in it, to its seconds."""


class Twin:
    def __init__(
        self,
        workload: Workload,
        deployment: Deployment,
        seconds: tuple[StepSeconds, ...],
        capacities: tuple[int, ...],
        pages: tuple[int, ...],
        link: KvTransfer,
        seed: int = 0,
        granules: tuple[int, ...] = (1, 1),
        hosts: tuple[HostTier | None, ...] = (None, None),
        drafts: tuple[StepSeconds | None, ...] = (None, None),
        stream: int = 0,
    ) -> None:
        self.layers = link.layers if deployment.transfers.mode == "per_layer" else 1
        self.map, self.token_bytes = Map(deployment, link), link.bytes_per_token
        self.drafts, self.stream = drafts, stream
        speculation = deployment.pools[-1].speculation
        self.survival = speculation.survival if speculation else ()
        self.now = 0.0
        self.deployment, self.seconds = deployment, seconds
        self.block = workload.requests.block_tokens
        self.requests = requests_of(workload, deployment)
        self.arrivals = Arrivals(workload, self.requests)
        caching = deployment.caching.eviction
        self.batching = Batching(self.block, deployment.prefix_cache, caching)
        self.limit = deployment.pools[0].scheduling.queue_limit
        self.turned_away = 0
        self.engines: list[Engine] = []
        self.ranks: list[Rank] = []
        self.links = Links()
        self._build(capacities, pages, granules, hosts)
        self.front = [rank for rank in self.ranks if rank.engine.role != "decode"]
        self.back = [rank for rank in self.ranks if rank.engine.role in ("hybrid", "decode")]
        self.router = Router(deployment, self.front, self.batching, seed)
        self.central: list[Request] = []
        self.dispatch: list[Request] = []

    def _build(
        self,
        capacities: tuple[int, ...],
        pages: tuple[int, ...],
        granules: tuple[int, ...],
        hosts: tuple[HostTier | None, ...],
    ) -> None:
        instance = 0
        for number, pool in enumerate(self.deployment.pools):
            for _ in range(pool.instances):
                stages = [0.0] * pool.layout.pp
                for _ in range(pool.layout.pp):
                    engine = Engine(len(self.engines), number, pool.role, pool.scheduling, stages)
                    engine.verify += pool.speculation.draft_tokens if pool.speculation else 0
                    self.engines.append(engine)
                    for place in range(pool.layout.dp):
                        capacity = capacities[number] // pages[number]
                        rank = Rank(
                            len(self.ranks),
                            engine,
                            instance,
                            capacity,
                            pages[number],
                            pool.chunk_tokens,
                            pool.batch_cap,
                            granules[number],
                        )
                        self._give_host(rank, hosts[number], (instance, place))
                        self.ranks.append(rank)
                        engine.ranks.append(rank)
                instance += 1

    def _give_host(self, rank: Rank, host: HostTier | None, link: object) -> None:
        if host is not None and self.deployment.prefix_cache:
            rank.host_capacity = host.capacity_tokens // rank.page
            rank.host_latency, rank.host_link = host.latency_s, link
            rank.host_bytes = host.bytes_per_token * self.block
            self.links.bandwidth[link] = host.bytes_per_s

    # arrivals and routing

    def arrive(self) -> None:
        request = self.arrivals.take()
        request.arrival = self.now
        too_long = any(self.batching.never_fits(rank, request) for rank in self.front)
        if too_long or any(self.batching.decode_need(rank, request) > rank.capacity for rank in self.back):
            self.reject(request)
        elif self.deployment.router == "central_queue":
            self.arrive_at_router(request)
        else:
            rank = self.router.route(request, self.now)
            if self.limit is not None and len(rank.waiting) >= self.limit:
                self.turned_away += 1
                self.reject(request)
            else:
                self.assign(rank, request)

    def arrive_at_router(self, request: Request) -> None:
        room = any(rank.outstanding < rank.cap for rank in self.front)
        if not room and self.limit is not None and len(self.central) >= self.limit:
            self.turned_away += 1
            self.reject(request)
        else:
            self.central.append(request)
            self.drain()

    def reject(self, request: Request) -> None:
        request.rejected = True
        self.arrivals.answered(request, self.now)

    def assign(self, rank: Rank, request: Request) -> None:
        request.rank = rank
        rank.outstanding += 1
        rank.waiting.append(request)

    def drain(self) -> None:
        while self.central:
            rank = min(self.front, key=lambda r: (r.outstanding, r.index))
            if rank.outstanding >= rank.cap:
                return
            self.assign(rank, self.central.pop(0))

    # one step of an engine

    def gathers(self, engine: Engine) -> bool:
        """Whether an idle engine waits for more requests to start together; sets its alarm."""
        engine.alarm = None
        waiting = sum(len(r.waiting) + len(r.delivered) for r in engine.ranks)
        if engine.rules.window_s == 0.0 or waiting == 0 or any(r.running() for r in engine.ranks):
            return False
        engine.opened = min(engine.opened, self.now)
        target, deadline = engine.rules.window_requests, engine.opened + engine.rules.window_s
        if self.now >= deadline or (target is not None and waiting >= target):
            return False
        engine.alarm = deadline
        return True

    def start(self, engine: Engine) -> None:
        if self.gathers(engine):
            return
        for rank in engine.ranks:
            self.batching.plan(rank, self.now)
        if engine.rules.plan_ahead and not any(r.active or r.shares for r in engine.ranks):
            for rank in engine.ranks:
                rank.known = None
                self.batching.plan(rank, self.now)
        self.load()
        loads = [(len(r.active), sum(t for _, t in r.shares), r) for r in engine.ranks]
        if sum(b + p for b, p, _ in loads) == 0:
            return
        seconds = step_seconds(self.seconds[engine.pool], self.drafts[engine.pool], engine.verify, loads)
        overhead = engine.rules.step_overhead_s
        seconds = max(seconds, overhead) if engine.rules.overlapped else seconds + overhead
        if engine.rules.plan_ahead:
            for rank in engine.ranks:
                rank.remember()
        engine.opened = math.inf
        engine.start, engine.end = self.now, self.now
        for stage in range(len(engine.stages)):
            engine.end = max(engine.end, engine.stages[stage]) + seconds / len(engine.stages)
            engine.stages[stage] = engine.end
        if engine.role == "prefill" and self.layers > 1:
            self.compute(engine)

    def compute(self, engine: Engine) -> None:
        """The step of a prefill engine makes context that is sent while it runs, or may be."""
        assert engine.end is not None
        for request, tokens in [share for rank in engine.ranks for share in rank.shares]:
            made = Making(engine.start, engine.end, request.computed * self.token_bytes, 0.0, self.layers)
            made.step = tokens * self.token_bytes
            if request.number in self.links.making:
                self.links.making[request.number] = made
            else:
                first = engine.start + (engine.end - engine.start) / self.layers
                self.links.setup.append(Flow(request, first, 0.0, (), "first", making=made))

    def end(self, engine: Engine) -> None:
        if engine.end is None:
            engine.alarm = None
            return
        engine.busy += self.now - engine.start
        engine.steps += 1
        engine.end = None
        for rank in engine.ranks:
            self.batching.decoded(rank)
            for request in rank.active:
                made = tokens_made(self.survival, self.stream, request.number, request.emitted, request.left)
                self.token(request, made)
            for request in sorted(rank.active, key=lambda q: q.number):
                if request.left == 0:
                    rank.decoding.remove(request)
                    rank.left += 1
                    self.finish(request)
            for request, tokens in rank.shares:
                request.computed += tokens
                self.batching.computed(rank, request)
            for request, _ in rank.shares:
                if request.computed == request.prompt:
                    rank.prefilling.remove(request)
                    self.prefilled(rank, request)
            rank.shares, rank.active = [], []

    def prefilled(self, rank: Rank, request: Request) -> None:
        if rank.engine.role == "prefill":
            rank.left += 1
            rank.outstanding -= 1
            self.drain()
            if request.number in self.links.making:
                self.links.setup.append(Flow(request, self.now + self.latency(request), 0.0, (), "last"))
                return
            self.dispatch.append(request)
            self.send()
            return
        self.token(request)
        if request.left > 0:
            rank.decoding.append(request)
        else:
            rank.left += 1
            self.finish(request)

    def token(self, request: Request, count: int = 1) -> None:
        if request.emitted == 0:
            request.first = self.now
        else:
            request.latencies += [(self.now - request.last) / count] * count
        request.emitted += count
        request.last = self.now

    def finish(self, request: Request) -> None:
        request.finish = self.now
        rank = request.rank
        assert rank is not None
        if request.decode_rank is not None:
            rank = request.decode_rank
            rank.used -= request.decode_pages
            rank.refused = None
        else:
            self.batching.release(rank, request, ended=True)
        rank.outstanding -= 1
        self.drain()
        self.send()
        self.arrivals.answered(request, self.now)

    # KV transfer

    def send(self) -> None:
        while self.dispatch:
            request = self.dispatch[0]
            rank = self.decode_rank(request)
            if rank is None:
                return
            self.reserve(self.dispatch.pop(0), rank)

    def reserve(self, request: Request, rank: Rank) -> None:
        request.decode_rank, request.decode_pages = rank, self.batching.decode_need(rank, request)
        self.batching.make(rank, request.decode_pages, [])
        rank.used += request.decode_pages
        rank.peak = max(rank.peak, rank.used + rank.locked())
        rank.outstanding += 1
        assert request.rank is not None
        links = self.map.way(request.rank.instance, rank.instance)
        self.links.bandwidth |= links
        size = request.input * self.token_bytes
        self.links.setup.append(Flow(request, self.now + self.latency(request), size, tuple(links)))

    def latency(self, request: Request) -> float:
        assert request.rank is not None
        assert request.decode_rank is not None
        way_s = self.map.latency(request.rank.instance, request.decode_rank.instance)
        return way_s + self.deployment.transfers.overhead_s

    def decode_rank(self, request: Request) -> Rank | None:
        assert request.rank is not None
        far = partial(self.map.far, request.rank.instance)
        return self.router.decode_rank(self.back, partial(self.has_room, request), far)

    def set_up(self, flow: Flow) -> None:
        self.links.setup.remove(flow)
        request = flow.request
        if flow.kind == "last":
            self.links.making[request.number].whole = True
        elif flow.kind == "first":
            self.offer(request, flow.making)
        else:
            self.links.enter(flow)

    def offer(self, request: Request, making: Making | None) -> None:
        """Send a request while it is computed, if there is room and nobody waits for it."""
        assert request.rank is not None
        assert making is not None
        if self.dispatch or request not in request.rank.prefilling:
            return
        rank = self.decode_rank(request)
        if rank is not None:
            self.links.making[request.number] = making
            self.reserve(request, rank)

    def has_room(self, request: Request, rank: Rank) -> bool:
        return rank.givable() >= self.batching.decode_need(rank, request)

    def load(self) -> None:
        """Set up the loads from host memory of requests that were admitted."""
        for request in self.batching.started:
            rank = request.rank
            assert rank is not None
            size = request.load * rank.host_bytes
            enters = self.now + rank.host_latency
            self.links.setup.append(Flow(request, enters, size, (rank.host_link,), "load"))
        self.batching.started = []

    def complete(self, flow: Flow) -> None:
        flow = min([f for f in self.links.flows if f.left == 0.0] or [flow], key=lambda f: f.request.number)
        request = flow.request
        if not self.links.ends(flow, self.now):
            return
        self.links.flows.remove(flow)
        assert request.rank is not None
        if flow.kind == "load":
            request.rank.loading.remove(request)
            request.rank.loaded.append(request)
            return
        assert request.decode_rank is not None
        self.token(request)
        self.batching.release(request.rank, request, ended=False)
        if request.output == 1:
            self.finish(request)
        else:
            rank = request.decode_rank
            (rank.delivered if rank.engine.role == "hybrid" else rank.waiting).append(request)

    # the loop

    def run(self) -> None:
        while True:
            self.links.share(self.now)
            alarms = [(e.alarm, 0, e.index, e) for e in self.engines if e.end is None and e.alarm is not None]
            ends = [*alarms, *((e.end, 0, e.index, e) for e in self.engines if e.end is not None)]
            events = [*ends, *self.links.events(self.now), (self.arrivals.next_time(), 3, 0, None)]
            time, kind, _, what = min(events, key=lambda x: x[:3])
            if time > self.now or math.isinf(time):
                before = [(e.end, e.alarm) for e in self.engines], len(self.links.setup)
                for engine in self.engines:
                    if engine.end is None:
                        self.start(engine)
                if before != ([(e.end, e.alarm) for e in self.engines], len(self.links.setup)):
                    continue
            if math.isinf(time):
                return
            self.links.move(time - self.now)
            self.now = time
            if isinstance(what, Engine):
                self.end(what)
            elif isinstance(what, Flow):
                (self.set_up if kind == 1 else self.complete)(what)
            else:
                self.arrive()
