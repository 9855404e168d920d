"""The twin's ranks: what is waiting, running and cached, and what a rank does in a step, slow and obvious."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from llmopt_problems.deployment import Role, Scheduling


@dataclass(eq=False)
class Request:
    number: int
    arrival: float
    input: int
    output: int
    blocks: tuple[int, ...]
    key: int = 0
    prompt: int = 0
    computed: int = 0
    hit: int = 0  # tokens, of the first admission
    load: int = 0  # blocks to load from host memory
    host_hit: int = 0  # tokens, of the first admission
    path: int = 0  # blocks in use in the tree
    answer: tuple[int, ...] = ()  # ids of the answer's blocks
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
    retractions: int = 0

    @property
    def left(self) -> int:
        return self.output - self.emitted


@dataclass(eq=False)
class Node:
    key: tuple[int, ...]  # the whole prefix of block ids; a tail ends with its request's name
    pages: int
    users: int = 0
    used: tuple[float, int] = (0.0, 0)  # release stamp: counter, and depth reversed
    uses: int = 0
    made: int = 0


@dataclass(eq=False)
class Engine:
    index: int
    pool: int
    role: Role
    rules: Scheduling
    stages: list[float]  # of its pipeline: when each has done all planned steps
    ranks: list[Rank] = field(default_factory=list)
    end: float | None = None
    start: float = 0.0
    busy: float = 0.0
    steps: int = 0
    opened: float = math.inf
    alarm: float | None = None
    verify: int = 1  # tokens that a decode has in a step


@dataclass(eq=False)
class Rank:
    index: int
    engine: Engine
    instance: int
    capacity: int
    page: int
    chunk: int
    cap: int
    granule: int
    host_capacity: int = 0
    host_latency: float = 0.0
    host_bytes: float = 0.0  # of a block
    host_link: object = None
    host: list[Node] = field(default_factory=list)  # oldest first
    host_peak: int = 0
    loading: list[Request] = field(default_factory=list)
    loaded: list[Request] = field(default_factory=list)
    delivered: list[Request] = field(default_factory=list)  # to a hybrid rank, to decode there
    waiting: list[Request] = field(default_factory=list)
    prefilling: list[Request] = field(default_factory=list)
    decoding: list[Request] = field(default_factory=list)
    active: list[Request] = field(default_factory=list)  # this step's decodes
    shares: list[tuple[Request, int]] = field(default_factory=list)  # this step's prefill
    tree: dict[object, Node] = field(default_factory=dict)
    used: int = 0  # private pages
    outstanding: int = 0
    peak: int = 0
    refused: Request | None = None  # did not fit, and nothing has changed since
    share: float = 0.0  # conservativeness now
    known: set[int] | None = None  # who waited when the step before began; None: all count
    known_free: int = 0  # pages that could be given then
    left: int = 0  # requests that have left the batch since

    def sees(self, request: Request) -> bool:
        return self.known is None or request.number in self.known

    def remember(self) -> None:  # for the next plan
        self.known = {q.number for q in (*self.waiting, *self.loaded)}
        self.known_free, self.left = self.givable(), 0

    def givable(self) -> int:
        return self.free() + sum(n.pages for n in self.tree.values() if n.users == 0)

    def running(self) -> list[Request]:
        return self.prefilling + self.decoding + self.loading + self.loaded

    def free(self) -> int:
        return self.capacity - self.used - sum(node.pages for node in self.tree.values())

    def locked(self) -> int:
        return sum(n.pages for n in self.tree.values() if n.users > 0)

    def evictable(self, spare: set[object]) -> list[Node]:
        """Unused leaves outside `spare`."""
        parents = {node.key[:-1] for node in self.tree.values()}
        return [n for n in self.tree.values() if n.users == 0 and n.key not in parents and n.key not in spare]

    def head(self) -> Request | None:
        seen = [q for q in self.waiting if self.sees(q)]
        if self.engine.rules.order == "fcfs":
            return seen[0] if seen else None
        return min(seen, key=lambda q: (q.key, q.number), default=None)

    def work(self) -> float:
        return float(sum(q.computed + i + 1 for q, tokens in self.shares for i in range(tokens)))

    def granules(self) -> float:
        return float(sum(math.ceil(q.computed / self.granule) for q, _ in self.shares))

    def squares(self) -> float:
        return float(sum(tokens**2 for _, tokens in self.shares))


class Batching:
    """What ranks do, for one block size and one mode of serving."""

    def __init__(self, block: int, cached: bool, eviction: str) -> None:
        self.block, self.cached, self.eviction = block, cached, eviction
        self.releases = self.retractions = self.made = 0
        self.started: list[Request] = []  # loads from host memory
        self.hidden = 0  # pages that the plan does not know of

    # pages

    def block_pages(self, rank: Rank) -> int:
        return math.ceil(self.block / rank.page)

    def pages(self, rank: Rank, request: Request, tokens: int) -> int:
        rest = tokens - len(request.blocks) * self.block
        return len(request.blocks) * self.block_pages(rank) + math.ceil(rest / rank.page)

    def need(self, rank: Rank, request: Request) -> int:
        whole = rank.engine.role != "prefill" and rank.engine.rules.growth is None
        answer = request.output + rank.engine.verify - 1 if whole else 0
        return self.pages(rank, request, request.prompt + answer)

    def never_fits(self, rank: Rank, request: Request) -> bool:
        growth = rank.engine.rules.growth
        if growth is None:
            return self.need(rank, request) > rank.capacity
        kept = math.floor(growth.watermark * rank.capacity) + growth.spare_page
        most = request.input + request.output + rank.engine.verify - 1
        return self.pages(rank, request, most) + kept > rank.capacity

    def decode_need(self, rank: Rank, request: Request) -> int:
        return math.ceil((request.input + request.output + rank.engine.verify - 1) / rank.page)

    def match(self, rank: Rank, request: Request) -> int:
        limit = min(len(request.blocks), (request.prompt - 1) // self.block)
        count = 0
        on_host = {node.key for node in rank.host}
        while count < limit and (
            request.blocks[: count + 1] in rank.tree or request.blocks[: count + 1] in on_host
        ):
            count += 1
        return count

    def take(self, rank: Rank, request: Request, pages: int, path: list[tuple[int, ...]]) -> None:
        self.make(rank, pages, path)
        rank.used += pages
        request.private += pages

    def make(self, rank: Rank, pages: int, path: list[tuple[int, ...]]) -> None:
        while rank.free() < pages:
            victim = min(rank.evictable(set(path)), key=self.turn)
            del rank.tree[victim.key]
            self.to_host(rank, victim)

    def to_host(self, rank: Rank, victim: Node) -> None:
        if victim.pages > rank.host_capacity:
            return
        while sum(node.pages for node in rank.host) + victim.pages > rank.host_capacity:
            rank.host.pop(0)
        rank.host.append(victim)
        rank.host_peak = max(rank.host_peak, sum(node.pages for node in rank.host))

    def from_host(self, rank: Rank, key: tuple[int, ...]) -> Node | None:
        """The node with that key, taken out of host memory."""
        for node in rank.host:
            if node.key == key:
                rank.host.remove(node)
                return node
        return None

    def turn(self, node: Node) -> object:
        """What orders leaves that may be evicted."""
        return {"lru": node.used, "lfu": (node.uses, node.used), "fifo": node.made}[self.eviction]

    # a step

    def plan(self, rank: Rank, now: float) -> None:
        rank.shares, rank.active = [], []
        self.hidden = 0 if rank.known is None else rank.givable() - rank.known_free
        while rank.delivered and len(rank.running()) < rank.cap:
            rank.decoding.append(rank.delivered.pop(0))
        if rank.engine.role == "decode":
            for request in [q for q in rank.waiting if rank.sees(q)]:
                if self.places(rank) < rank.cap:
                    rank.waiting.remove(request)
                    rank.decoding.append(request)
            rank.active = list(rank.decoding)
        elif rank.engine.rules.mixing == "prefill_first":
            self.prefill(rank, rank.chunk, now)
            if not rank.shares:
                self.grow(rank)
                rank.active = list(rank.decoding)
        else:
            self.grow(rank)
            rank.active = list(rank.decoding)
            self.prefill(rank, rank.chunk - len(rank.active) * rank.engine.verify, now)

    def prefill(self, rank: Rank, budget: int, now: float) -> None:
        for request in rank.prefilling:
            tokens = min(budget, request.prompt - request.computed)
            if tokens > 0:
                rank.shares.append((request, tokens))
                budget -= tokens
        while rank.loaded and budget > 0 and rank.sees(rank.loaded[0]):
            request = rank.loaded.pop(0)
            rank.prefilling.append(request)
            tokens = min(budget, request.prompt - request.computed)
            rank.shares.append((request, tokens))
            budget -= tokens
        while rank.waiting and budget > 0 and self.places(rank) < rank.cap:
            request = rank.head()
            if request is None or request is rank.refused:
                break
            rank.refused = None
            if not self.admit(rank, request):
                rank.refused = request if self.hidden == 0 else None
                break
            rank.waiting.remove(request)
            request.admitted = now if math.isnan(request.admitted) else request.admitted
            if request.load > 0:
                rank.loading.append(request)
                self.started.append(request)
                continue
            rank.prefilling.append(request)
            tokens = min(budget, request.prompt - request.computed)
            rank.shares.append((request, tokens))
            budget -= tokens

    def places(self, rank: Rank) -> int:
        left = 0 if rank.known is None else rank.left
        return len(rank.decoding) + len(rank.shares) + len(rank.loading) + len(rank.loaded) + left

    def admit(self, rank: Rank, request: Request) -> bool:
        hits = self.match(rank, request)
        path = [request.blocks[: i + 1] for i in range(hits)]
        request.load = sum(key not in rank.tree for key in path)
        pages = self.need(rank, request) - (hits - request.load) * self.block_pages(rank)
        unused = sum(n.pages for n in rank.tree.values() if n.users == 0 and n.key not in path)
        if pages + self.kept(rank, request) > rank.free() + unused - self.hidden:
            return False
        recalled = [self.from_host(rank, key) for key in path[hits - request.load :]]
        for key in path[: hits - request.load]:
            rank.tree[key].users += 1
            rank.tree[key].uses += 1
        request.private, request.path, request.computed = 0, hits, hits * self.block
        if math.isnan(request.admitted):
            request.hit = hits * self.block
            request.host_hit = request.load * self.block
        self.take(rank, request, pages, path)
        for node in recalled:
            assert node is not None
            rank.used -= node.pages
            request.private -= node.pages
            rank.tree[node.key] = node
            node.users, node.uses = 1, node.uses + 1
        rank.peak = max(rank.peak, rank.used + rank.locked())
        return True

    def kept(self, rank: Rank, request: Request) -> int:
        """Pages that must stay free beside those of a new request."""
        growth = rank.engine.rules.growth
        if growth is None:
            return 0
        if not rank.running():
            rank.share = growth.conservativeness
        output = math.ceil(rank.share * request.left) + rank.engine.verify - 1
        own = self.pages(rank, request, request.prompt + output)
        others = math.ceil(rank.share * sum(q.left for q in rank.running()) / rank.page)
        return own - self.need(rank, request) + others + math.floor(growth.watermark * rank.capacity)

    def grow(self, rank: Rank) -> None:
        """A page for every decode that opens one; the last running requests make room before."""
        growth = rank.engine.rules.growth
        if growth is None:
            return
        place, before, taken = 0, self.retractions, 0
        while place < len(rank.decoding):
            unused = sum(n.pages for n in rank.tree.values() if n.users == 0)
            pages = self.opened(rank, rank.decoding[place])
            if rank.free() + unused - taken < max(pages, int(growth.spare_page)):
                self.retract(rank)
                continue
            taken += pages
            place += 1
        for request in rank.decoding:
            self.take(rank, request, self.opened(rank, request), [])
        rank.peak = max(rank.peak, rank.used + rank.locked())
        if self.retractions > before and growth.conservativeness_floor not in (None, growth.conservativeness):
            wanted = sum(q.output for q in rank.running())
            made = sum(q.emitted for q in rank.running())
            rank.share = min(1.0, (made + 20 * len(rank.running())) / max(1, wanted))

    def opened(self, rank: Rank, request: Request) -> int:
        """Pages that the next token of a decode wants."""
        held = len(request.blocks) * self.block_pages(rank) + request.private
        return self.pages(rank, request, request.input + request.emitted + rank.engine.verify - 1) - held

    def retract(self, rank: Rank) -> None:
        self.retractions += 1
        request = rank.prefilling.pop() if rank.prefilling else rank.decoding.pop()
        self.unlock(rank, request.blocks[: request.path])
        rank.used -= request.private
        request.private = 0
        request.prompt = request.input + request.emitted
        request.retractions += 1
        request.key = -self.retractions
        rank.refused = None
        rank.waiting.insert(0, request)
        if rank.known is not None:
            rank.known.add(request.number)

    def decoded(self, rank: Rank) -> None:
        growth = rank.engine.rules.growth
        if growth is not None and rank.active:
            start = growth.conservativeness
            floor = start if growth.conservativeness_floor is None else growth.conservativeness_floor
            rank.share = max(floor, rank.share - (start - floor) / growth.decay_steps)

    # the prefix tree

    def computed(self, rank: Rank, request: Request) -> None:
        """A step has brought a prefill on: its whole blocks can be hit."""
        blocks = min(len(request.blocks), request.computed // self.block)
        if blocks > request.path or request.computed == request.prompt:
            rank.refused = None
        self.insert(rank, request, request.blocks[:blocks])

    def insert(self, rank: Rank, request: Request, path: tuple[int, ...]) -> None:
        for depth in range(request.path, len(path)):
            key = path[: depth + 1]
            rank.used -= self.block_pages(rank)
            request.private -= self.block_pages(rank)
            if key not in rank.tree:
                rank.tree[key] = self.from_host(rank, key) or self.node(key, self.block_pages(rank))
            rank.tree[key].users += 1
            rank.tree[key].uses += 1
        request.path = max(request.path, len(path))

    def node(self, key: tuple[int, ...], pages: int) -> Node:
        self.made += 1
        return Node(key, pages, made=self.made)

    def unlock(self, rank: Rank, path: tuple[int, ...]) -> None:
        self.releases += 1
        for i in range(len(path)):
            node = rank.tree[path[: i + 1]]
            node.users -= 1
            node.used = (float(self.releases), len(path) - i)

    def release(self, rank: Rank, request: Request, ended: bool) -> None:
        rank.refused = None
        answer = request.answer if ended else ()
        answer = answer[: request.private // self.block_pages(rank)]
        path = (*request.blocks, *answer)
        self.insert(rank, request, path)
        rank.used -= request.private
        if self.cached and request.private > 0:
            key = (*path, -1 - request.number)
            tail = rank.tree[key] = self.node(key, request.private)
            tail.uses, tail.used = 1, (float(self.releases) + 0.5, 0)
        request.private = 0
        self.unlock(rank, path)
