"""The twin's links: flows that share them, every rate computed anew at every change.

What a flow may not send yet is asked of its request at every moment: nobody keeps account of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from simulator_twin_ranks import Request


@dataclass(eq=False)
class Flow:
    request: Request
    enters: float
    size: float
    links: tuple[object, ...]  # names of those that it crosses
    kind: str = "transfer"  # load: from host memory; first, last: layers of a prompt, which move nothing
    making: Making | None = None
    left: float = 0.0
    rate: float = 0.0


@dataclass(eq=False)
class Making:
    """How a request's context is computed: its last step, and what may be sent before and after."""

    start: float
    end: float
    before: float  # bytes that were there when the step began
    step: float  # bytes that it makes
    layers: int
    whole: bool = False  # even the last layer may be sent

    def sendable(self, now: float) -> float:
        if self.whole:
            return math.inf
        done = min(1.0, (now - self.start) / (self.end - self.start))
        return self.before + self.step * (1 - 1 / self.layers) * done

    def speed(self, now: float) -> float:
        return self.step * (1 - 1 / self.layers) / (self.end - self.start) if now < self.end else 0.0


@dataclass(eq=False)
class Links:
    bandwidth: dict[object, float] = field(default_factory=dict)
    setup: list[Flow] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    making: dict[int, Making] = field(default_factory=dict)  # requests that are sent while they are computed

    def enter(self, flow: Flow) -> None:
        flow.left = flow.size
        self.flows.append(flow)

    def ends(self, flow: Flow, now: float) -> bool:
        """Whether a flow that changes has ended; else it has sent all that is computed."""
        if flow.kind == "load" or flow.request.number not in self.making:
            return True
        making = self.making[flow.request.number]
        if not making.whole:
            flow.left = flow.size - min(flow.size, making.sendable(now))
        return making.whole

    def ready(self, flow: Flow, now: float) -> float:
        """Bytes that could be sent at this moment."""
        if flow.kind == "load" or flow.request.number not in self.making:
            return flow.left
        sendable = min(flow.size, self.making[flow.request.number].sendable(now))
        ready = flow.left - (flow.size - sendable)
        return ready if ready > 1e-12 * flow.size else 0.0

    def speed(self, flow: Flow, now: float) -> float:
        making = None if flow.kind == "load" else self.making.get(flow.request.number)
        return 0.0 if making is None or making.whole else making.speed(now)

    def share(self, now: float) -> None:
        for flow in self.flows:
            crossing = [sum(link in other.links for other in self.flows) for link in flow.links]
            shares = [self.bandwidth[link] / count for link, count in zip(flow.links, crossing, strict=True)]
            flow.rate = min(shares)
            if self.ready(flow, now) == 0.0 and flow.left > 0.0:
                flow.rate = min(flow.rate, self.speed(flow, now))

    def move(self, seconds: float) -> None:
        for flow in self.flows:
            left = flow.left - flow.rate * seconds
            flow.left = left if left > 1e-12 * flow.size else 0.0

    def change(self, flow: Flow, now: float) -> float:
        """When a flow ends, or has sent all that is computed."""
        ready, speed = self.ready(flow, now), self.speed(flow, now)
        if flow.left == 0.0 or ready == flow.left:
            return now + flow.left / flow.rate
        if ready == 0.0 or flow.rate <= speed:
            return math.inf
        return now + ready / (flow.rate - speed)

    def events(self, now: float) -> list[tuple[float, int, object, Flow]]:
        """What happens next: time, kind, place among equals."""
        kinds = ("transfer", "load", "first", "last")
        setups = [(f.enters, 1, (f.request.number, kinds.index(f.kind)), f) for f in self.setup]
        return [*setups, *((self.change(f, now), 2, (f.request.number, 0), f) for f in self.flows)]
