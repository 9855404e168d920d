"""The twin's traffic: its requests, and which of them arrives next."""

from __future__ import annotations

import math

from simulator_twin_ranks import Request

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload


def requests_of(workload: Workload, deployment: Deployment) -> list[Request]:
    requests = [_request(workload, deployment, i) for i in range(len(workload.requests))]
    for later, earlier in enumerate(() if workload.follows is None else workload.follows):
        if earlier >= 0:
            _note_answer(requests[later], requests[earlier], workload.requests.block_tokens)
    return requests


def _request(workload: Workload, deployment: Deployment, i: int) -> Request:
    r, rules = workload.requests, deployment.pools[0].scheduling
    ids = tuple(int(x) for x in r.block_ids[r.block_offsets[i] : r.block_offsets[i + 1]])
    arrival = 0.0 if workload.concurrency else float(r.arrival_s[i])
    tokens, output = int(r.input_tokens[i]), int(r.output_tokens[i])
    key = tokens if rules.order == "shortest_prompt" else 0
    if rules.order == "priority" and r.class_ids is not None:
        key = int(r.class_ids[i])
        key = rules.priorities[key] if rules.priorities else key
    return Request(i, arrival, tokens, output, ids if deployment.prefix_cache else (), key, tokens)


def _note_answer(later: Request, earlier: Request, block: int) -> None:
    """What the earlier turn computes beyond its input, by the later one's names."""
    if later.input < earlier.input + earlier.output:
        return
    shared = len(earlier.blocks)
    computed = (earlier.input + earlier.output - 1) // block
    if later.blocks[:shared] == earlier.blocks:
        earlier.answer = later.blocks[shared:computed]


class Arrivals:
    """A sequence of requests that wait for nothing, and those that wait for an answer and a thought."""

    def __init__(self, workload: Workload, requests: list[Request]) -> None:
        self.requests, self.concurrency, self.think = requests, workload.concurrency, workload.think_s
        self.follows = None if self.concurrency is not None else workload.follows
        self.sent = 0
        self.expected: list[tuple[float, int]] = []
        for _ in range(min(self.concurrency or 0, len(self.requests))):
            self.next_of_user(0.0)

    def next_time(self) -> float:
        return min([*self.expected, *self.sequence()], default=(math.inf, 0))[0]

    def take(self) -> Request:
        coming = min([*self.expected, *self.sequence()])
        if coming in self.expected:
            self.expected.remove(coming)
        else:
            self.sent += 1
        return self.requests[coming[1]]

    def sequence(self) -> list[tuple[float, int]]:
        """The next request that waits for nothing."""
        if self.concurrency is not None:
            return []
        while self.sent < len(self.requests) and self.follows is not None and self.follows[self.sent] >= 0:
            self.sent += 1
        return [(q.arrival, q.number) for q in self.requests[self.sent : self.sent + 1]]

    def next_of_user(self, now: float) -> None:
        if self.sent < len(self.requests):
            self.expect(self.sent, now)
            self.sent += 1

    def expect(self, number: int, now: float) -> None:
        think = 0.0 if self.think is None else float(self.think[number])
        self.expected.append((now + think, number))

    def answered(self, request: Request, now: float) -> None:
        if self.concurrency is not None:
            self.next_of_user(now)
        elif self.follows is not None:
            for number in range(len(self.requests)):
                if self.follows[number] == request.number:
                    self.expect(number, now)
