"""The simulator's twin: slow, obvious Python, written from the semantics and sharing no code with the kernel.

Requests, ranks and engines are objects; every decode sequence is touched in every step; nothing runs ahead;
admission is tried again at every step; the prefix tree is a dictionary, and eviction looks at every leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload

StepSeconds = Callable[[int, float, int, float, int, int], float]
"""b, K, p, A, N, h of a step to its seconds."""


@dataclass(eq=False)
class Request:
    number: int
    arrival: float
    input: int
    output: int
    blocks: tuple[int, ...]
    computed: int = 0
    hit: int = 0
    emitted: int = 0
    private: int = 0
    decode_pages: int = 0
    rank: Rank | None = None
    decode_rank: Rank | None = None
    admitted: float = math.nan
    first: float = math.nan
    finish: float = math.nan
    latencies: list[float] = field(default_factory=list)
    last: float = math.nan
    rejected: bool = False


@dataclass(eq=False)
class Node:
    key: tuple[int, ...]  # the whole prefix of block ids; a tail ends with its request's name
    pages: int
    users: int = 0
    used: tuple[float, int] = (0.0, 0)  # release stamp: counter, and depth reversed


@dataclass(eq=False)
class Rank:
    index: int
    engine: Engine
    instance: int
    capacity: int
    page: int
    chunk: int
    cap: int
    waiting: list[Request] = field(default_factory=list)
    prefilling: list[Request] = field(default_factory=list)
    decoding: list[Request] = field(default_factory=list)
    tree: dict[object, Node] = field(default_factory=dict)
    used: int = 0  # private pages
    outstanding: int = 0
    shares: list[tuple[Request, int]] = field(default_factory=list)  # this step's prefill
    peak: int = 0

    def tree_pages(self) -> int:
        return sum(node.pages for node in self.tree.values())

    def free(self) -> int:
        return self.capacity - self.used - self.tree_pages()


@dataclass(eq=False)
class Engine:
    index: int
    decode_pool: bool
    ranks: list[Rank] = field(default_factory=list)
    end: float | None = None
    start: float = 0.0
    busy: float = 0.0
    steps: int = 0


@dataclass(eq=False)
class Transfer:
    request: Request
    enters: float
    left: float
    rate: float = 0.0


class Twin:
    def __init__(
        self,
        workload: Workload,
        deployment: Deployment,
        seconds: tuple[StepSeconds, ...],
        capacities: tuple[int, ...],
        pages: tuple[int, ...],
        link: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
        thresholds: tuple[float, float, float] = (0.5, 32.0, 1.0001),
    ) -> None:
        self.deployment, self.seconds, self.link, self.thresholds = deployment, seconds, link, thresholds
        self.block = workload.requests.block_tokens
        self.split = deployment.mode == "disaggregated"
        self.concurrency = workload.concurrency
        self.requests = [self._request(workload, i) for i in range(len(workload.requests))]
        self.engines: list[Engine] = []
        self.ranks: list[Rank] = []
        self._build(capacities, pages)
        self.front = [rank for rank in self.ranks if not rank.engine.decode_pool]
        self.back = [rank for rank in self.ranks if rank.engine.decode_pool]
        self.now, self.turn, self.releases = 0.0, 0, 0
        self.sent = 0
        self.users = self.concurrency or 0
        self.central: list[Request] = []
        self.dispatch: list[Request] = []
        self.setup: list[Transfer] = []
        self.links: list[Transfer] = []

    def _request(self, workload: Workload, i: int) -> Request:
        r = workload.requests
        ids = tuple(int(x) for x in r.block_ids[r.block_offsets[i] : r.block_offsets[i + 1]])
        if not self.deployment.prefix_cache:
            ids = ()
        arrival = 0.0 if workload.concurrency else float(r.arrival_s[i])
        return Request(i, arrival, int(r.input_tokens[i]), int(r.output_tokens[i]), ids)

    def _build(self, capacities: tuple[int, ...], pages: tuple[int, ...]) -> None:
        instance = 0
        for number, pool in enumerate(self.deployment.pools):
            for _ in range(pool.instances):
                for _ in range(pool.layout.pp):
                    engine = Engine(len(self.engines), number == 1)
                    self.engines.append(engine)
                    for _ in range(pool.layout.dp):
                        capacity = capacities[number] // pages[number]
                        rank = Rank(
                            len(self.ranks),
                            engine,
                            instance,
                            capacity,
                            pages[number],
                            pool.chunk_tokens,
                            pool.batch_cap,
                        )
                        self.ranks.append(rank)
                        engine.ranks.append(rank)
                instance += 1

    # pages

    def block_pages(self, rank: Rank) -> int:
        return math.ceil(self.block / rank.page)

    def need(self, rank: Rank, request: Request) -> int:
        tokens = request.input + (0 if self.split else request.output)
        rest = tokens - len(request.blocks) * self.block
        return len(request.blocks) * self.block_pages(rank) + math.ceil(rest / rank.page)

    def decode_need(self, rank: Rank, request: Request) -> int:
        return math.ceil((request.input + request.output) / rank.page)

    def match(self, rank: Rank, request: Request) -> int:
        limit = min(len(request.blocks), (request.input - 1) // self.block)
        count = 0
        while count < limit and request.blocks[: count + 1] in rank.tree:
            count += 1
        return count

    def evictable(self, rank: Rank, spare: set[object]) -> list[Node]:
        """Unused leaves outside `spare`."""
        parents = {node.key[:-1] for node in rank.tree.values()}
        return [n for n in rank.tree.values() if n.users == 0 and n.key not in parents and n.key not in spare]

    # arrivals and routing

    def next_arrival(self) -> float:
        if self.sent == len(self.requests):
            return math.inf
        if self.concurrency is None:
            return self.requests[self.sent].arrival
        return self.now if self.users > 0 else math.inf

    def arrive(self) -> None:
        request = self.requests[self.sent]
        self.sent += 1
        self.users -= 1
        request.arrival = self.now
        too_long = self.need(self.front[0], request) > self.front[0].capacity
        if self.split:
            too_long = too_long or self.decode_need(self.back[0], request) > self.back[0].capacity
        if too_long:
            request.rejected = True
            self.users += 1
        elif self.deployment.router == "central_queue":
            self.central.append(request)
            self.drain()
        else:
            self.assign(self.route(request), request)

    def route(self, request: Request) -> Rank:
        shortest = min(self.front, key=lambda r: (r.outstanding, r.index))
        if self.deployment.router == "round_robin":
            self.turn += 1
            return self.front[(self.turn - 1) % len(self.front)]
        if self.deployment.router == "shortest_queue":
            return shortest
        threshold, absolute, relative = self.thresholds
        longest_queue = max(r.outstanding for r in self.front)
        gap = longest_queue - shortest.outstanding
        if gap > absolute and longest_queue > relative * shortest.outstanding:
            return shortest
        best = min(self.front, key=lambda r: (-self.match(r, request), r.outstanding, r.index))
        if self.match(best, request) * self.block / request.input >= threshold:
            return best
        wanted = {r: sum(self.need(r, w) for w in r.waiting) for r in self.front}
        return min(self.front, key=lambda r: (wanted[r] - r.free(), r.outstanding, r.index))

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

    def start(self, engine: Engine) -> None:
        for rank in engine.ranks:
            self.plan(rank)
        loads = [(r, sum(t for _, t in r.shares), self.work(r)) for r in engine.ranks]
        batch = max(len(r.decoding) for r, _, _ in loads)
        context = max(sum(q.input + q.emitted for q in r.decoding) for r, _, _ in loads)
        total = sum(len(r.decoding) + p for r, p, _ in loads)
        heads = max(len(r.decoding) + len(r.shares) for r, _, _ in loads)
        if total == 0:
            return
        seconds = self.seconds[1 if engine.decode_pool else 0](
            batch, float(context), max(p for _, p, _ in loads), max(a for _, _, a in loads), total, heads
        )
        engine.start, engine.end = self.now, self.now + seconds

    def work(self, rank: Rank) -> float:
        return float(sum(q.computed + i + 1 for q, tokens in rank.shares for i in range(tokens)))

    def plan(self, rank: Rank) -> None:
        rank.shares = []
        if rank.engine.decode_pool:
            while rank.waiting and len(rank.decoding) < rank.cap:
                rank.decoding.append(rank.waiting.pop(0))
            return
        budget = rank.chunk - len(rank.decoding)
        for request in rank.prefilling:
            tokens = min(budget, request.input - request.computed)
            if tokens > 0:
                rank.shares.append((request, tokens))
                budget -= tokens
        while rank.waiting and budget > 0 and len(rank.decoding) + len(rank.shares) < rank.cap:
            if not self.admit(rank, rank.waiting[0]):
                break
            request = rank.waiting.pop(0)
            request.admitted = self.now
            rank.prefilling.append(request)
            tokens = min(budget, request.input - request.computed)
            rank.shares.append((request, tokens))
            budget -= tokens

    def admit(self, rank: Rank, request: Request) -> bool:
        hits = self.match(rank, request)
        path = [request.blocks[: i + 1] for i in range(hits)]
        pages = self.need(rank, request) - hits * self.block_pages(rank)
        unused = sum(n.pages for n in rank.tree.values() if n.users == 0 and n.key not in path)
        if pages > rank.free() + unused:
            return False
        for key in path:
            rank.tree[key].users += 1
        while rank.free() < pages:
            del rank.tree[min(self.evictable(rank, set(path)), key=lambda n: n.used).key]
        rank.used += pages
        request.private, request.hit, request.computed = pages, hits * self.block, hits * self.block
        locked = sum(n.pages for n in rank.tree.values() if n.users > 0)
        rank.peak = max(rank.peak, rank.used + locked)
        return True

    def end(self, engine: Engine) -> None:
        engine.busy += self.now - engine.start
        engine.steps += 1
        engine.end = None
        for rank in engine.ranks:
            for request in rank.decoding:
                request.emitted += 1
                request.latencies.append(self.now - request.last)
                request.last = self.now
            for request in sorted(rank.decoding, key=lambda q: q.number):
                if request.emitted == request.output:
                    rank.decoding.remove(request)
                    self.finish(request)
            for request, tokens in rank.shares:
                request.computed += tokens
                if request.computed == request.input:
                    rank.prefilling.remove(request)
                    self.prefilled(rank, request)
            rank.shares = []

    def prefilled(self, rank: Rank, request: Request) -> None:
        self.insert(rank, request)
        if self.split:
            rank.outstanding -= 1
            self.drain()
            self.dispatch.append(request)
            self.send()
            return
        self.first_token(request)
        if request.output > 1:
            rank.decoding.append(request)
        else:
            self.finish(request)

    def first_token(self, request: Request) -> None:
        request.first = request.last = self.now
        request.emitted = 1

    def insert(self, rank: Rank, request: Request) -> None:
        first_new = request.hit // self.block
        for i in range(first_new, len(request.blocks)):
            key = request.blocks[: i + 1]
            rank.used -= self.block_pages(rank)
            request.private -= self.block_pages(rank)
            if key not in rank.tree:
                rank.tree[key] = Node(key, self.block_pages(rank))
            rank.tree[key].users += 1

    def release(self, rank: Rank, request: Request) -> None:
        self.releases += 1
        rank.used -= request.private
        depth = len(request.blocks)
        if self.deployment.prefix_cache and request.private > 0:
            key = (*request.blocks, -1 - request.number)
            rank.tree[key] = Node(key, request.private, 0, (float(self.releases), 0))
        request.private = 0
        for i in range(depth):
            node = rank.tree[request.blocks[: i + 1]]
            node.users -= 1
            node.used = (float(self.releases), depth - i)

    def finish(self, request: Request) -> None:
        request.finish = self.now
        rank = request.rank
        assert rank is not None
        if self.split:
            assert request.decode_rank is not None
            request.decode_rank.used -= request.decode_pages
            request.decode_rank.outstanding -= 1
            self.send()
        else:
            self.release(rank, request)
            rank.outstanding -= 1
            self.drain()
        self.users += 1

    # KV transfer

    def send(self) -> None:
        while self.dispatch:
            request = self.dispatch[0]
            room = [r for r in self.back if r.free() >= self.decode_need(r, request)]
            if not room:
                return
            rank = min(room, key=lambda r: (r.outstanding, r.index))
            self.dispatch.pop(0)
            request.decode_rank, request.decode_pages = rank, self.decode_need(rank, request)
            rank.used += request.decode_pages
            rank.peak = max(rank.peak, rank.used)
            rank.outstanding += 1
            self.setup.append(Transfer(request, self.now + self.link[0], request.input * self.link[1]))

    def share(self) -> None:
        for t in self.links:
            sender, receiver = t.request.rank, t.request.decode_rank
            assert sender is not None
            assert receiver is not None
            leaving = sum(o.request.rank.instance == sender.instance for o in self.links if o.request.rank)
            coming = sum(
                o.request.decode_rank.instance == receiver.instance
                for o in self.links
                if o.request.decode_rank
            )
            t.rate = min(self.link[2] / leaving, self.link[3] / coming)

    def move(self, until: float) -> None:
        for t in self.links:
            left = t.left - t.rate * (until - self.now)
            t.left = left if left > 1e-12 * t.request.input * self.link[1] else 0.0

    def deliver(self, transfer: Transfer) -> None:
        request = transfer.request
        self.links.remove(transfer)
        self.share()
        assert request.rank is not None
        assert request.decode_rank is not None
        self.first_token(request)
        self.release(request.rank, request)
        if request.output == 1:
            self.finish(request)
        else:
            request.decode_rank.waiting.append(request)

    # the loop

    def run(self) -> None:
        while True:
            ends = [(e.end, 0, e.index, e) for e in self.engines if e.end is not None]
            setups = [(t.enters, 1, 0, t) for t in self.setup[:1]]
            arriving = [(self.now + t.left / t.rate, 2, t.request.number, t) for t in self.links]
            events = [*ends, *setups, *arriving, (self.next_arrival(), 3, 0, None)]
            time, kind, _, what = min(events, key=lambda x: x[:3])
            if time > self.now or math.isinf(time):
                started = False
                for engine in self.engines:
                    if engine.end is None:
                        self.start(engine)
                        started = started or engine.end is not None
                if started:
                    continue
            if math.isinf(time):
                return
            self.move(time)
            self.now = time
            if isinstance(what, Engine):
                self.end(what)
            elif kind == 1:
                self.links.append(self.setup.pop(0))
                self.share()
            elif isinstance(what, Transfer):
                self.deliver(what)
            else:
                self.arrive()
