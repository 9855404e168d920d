"""The twin's router: loads and trees looked at anew for every request, a tree being a dictionary of paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from simulator_twin_ranks import Batching, Rank, Request

from llmopt_problems.deployment import Deployment

Path = tuple[int, ...]


class Router:
    def __init__(self, deployment: Deployment, front: list[Rank], batching: Batching, seed: int) -> None:
        self.deployment, self.rules, self.batching = deployment, deployment.routing, batching
        self.front = front
        names = [rank.index if self.rules.dp_aware else rank.instance for rank in front]
        self.workers = [
            [r for r, n in zip(front, names, strict=True) if n == name] for name in sorted({*names})
        ]
        self.turns = [0] * len(self.workers)
        self.turn = self.decode_turn = 0
        self.random = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        self.trees: list[dict[Path, tuple[int, float]]] = [{} for _ in self.workers]  # when, minus depth
        self.tokens: dict[Path, int] = {}
        self.accesses = 0
        self.next_eviction = self.rules.eviction_interval_s

    def draw(self, count: int) -> int:
        mask = (1 << 64) - 1
        self.random = (self.random + 0x9E3779B97F4A7C15) & mask
        z = self.random
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        return ((z >> 32) * count) >> 32

    def route(self, request: Request, now: float) -> Rank:
        if self.deployment.router == "kv_aware":
            return self.kv_aware(request)
        worker = self.choose(request, now)
        if self.rules.dp_balance != "round_robin":
            return min(self.workers[worker], key=self.load)
        self.turns[worker] += 1
        return self.workers[worker][(self.turns[worker] - 1) % len(self.workers[worker])]

    def load(self, rank: Rank) -> int:
        if self.rules.dp_balance == "shortest_queue":
            return rank.outstanding
        begun = rank.waiting + rank.prefilling + rank.loading + rank.loaded
        return sum(q.prompt for q in begun) + sum(q.input + q.emitted for q in rank.decoding)

    def choose(self, request: Request, now: float) -> int:
        policy, count = self.deployment.router, len(self.workers)
        if policy == "round_robin":
            self.turn += 1
            return (self.turn - 1) % count
        if policy == "random":
            return self.draw(count)
        loads = [sum(rank.outstanding for rank in worker) for worker in self.workers]
        if policy == "power_of_two":
            return min([self.draw(count), self.draw(count)], key=lambda w: loads[w])
        if policy == "cache_aware":
            return self.cache_aware(request, loads, now)
        return loads.index(min(loads))

    def uneven(self, loads: Sequence[int]) -> bool:
        gap = max(loads) - min(loads)
        ratio = self.rules.balance_rel_threshold
        return gap > self.rules.balance_abs_threshold and max(loads) > ratio * min(loads)

    def cache_aware(self, request: Request, loads: list[int], now: float) -> int:
        self.evict(now)
        path = request.blocks
        if self.uneven(loads):
            worker = loads.index(min(loads))
        else:
            depths = [max([d for d in range(len(path) + 1) if not d or path[:d] in t]) for t in self.trees]
            worker = depths.index(max(depths))
            self.access(worker, [path[:d] for d in range(1, depths[worker] + 1)])
            if max(depths) * self.batching.block / request.input <= self.rules.cache_threshold:
                sizes = [sum(self.tokens[p] for p in tree) for tree in self.trees]
                worker = sizes.index(min(sizes))
        rest = (*path, -1 - request.number)
        self.tokens |= {path[:d]: self.batching.block for d in range(1, len(path) + 1)}
        self.tokens[rest] = request.input - len(path) * self.batching.block
        self.access(worker, [path[:d] for d in range(1, len(path) + 1)] + [rest] * (self.tokens[rest] > 0))
        return worker

    def access(self, worker: int, paths: list[Path]) -> None:
        self.accesses += 1
        self.trees[worker] |= {path: (self.accesses, -len(path)) for path in paths}

    def evict(self, now: float) -> None:
        interval = self.rules.eviction_interval_s
        if interval == 0.0 or now < self.next_eviction:
            return
        self.next_eviction = (math.floor(now / interval) + 1) * interval
        for tree in self.trees:
            while sum(self.tokens[path] for path in tree) > self.rules.max_tree_tokens:
                parents = {path[:-1] for path in tree}
                del tree[min((path for path in tree if path not in parents), key=lambda path: tree[path])]

    def kv_aware(self, request: Request) -> Rank:
        loads = [rank.outstanding for rank in self.front]
        if self.uneven(loads):
            return self.front[loads.index(min(loads))]
        match, need = self.batching.match, self.batching.need
        best = min(self.front, key=lambda r: (-match(r, request), r.outstanding, r.index))
        if match(best, request) * self.batching.block / request.input > self.rules.cache_threshold:
            return best
        wanted = {r: sum(need(r, w) for w in r.waiting) for r in self.front}
        return min(self.front, key=lambda r: (wanted[r] - r.free(), r.outstanding, r.index))

    def decode_rank(
        self, back: list[Rank], room: Callable[[Rank], bool], far: Callable[[int], int]
    ) -> Rank | None:
        """One of the decode ranks with room, by the policy of their pool."""
        able = [rank for rank in back if room(rank)]
        if not able:
            return None
        if self.rules.decode == "nearest":
            return min(able, key=lambda rank: (far(rank.instance), rank.outstanding, rank.index))
        if self.rules.decode == "random":
            return able[self.draw(len(able))]
        if self.rules.decode == "power_of_two":
            drawn = [able[self.draw(len(able))], able[self.draw(len(able))]]
            return min(drawn, key=lambda rank: rank.outstanding)
        if self.rules.decode == "round_robin":
            chosen = min(able, key=lambda rank: (back.index(rank) - self.decode_turn) % len(back))
            self.decode_turn = back.index(chosen) + 1
            return chosen
        return min(able, key=lambda rank: (rank.outstanding, rank.index))
