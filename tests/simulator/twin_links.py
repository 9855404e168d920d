"""The twin's links: flows that share them, every rate computed anew at every change."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator_twin_ranks import Request


@dataclass(eq=False)
class Flow:
    request: Request
    enters: float
    size: float
    links: tuple[object, ...]  # names of those that it crosses
    load: bool = False  # from host memory
    left: float = 0.0
    rate: float = 0.0


@dataclass(eq=False)
class Links:
    bandwidth: dict[object, float] = field(default_factory=dict)
    setup: list[Flow] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)

    def enter(self, flow: Flow) -> None:
        self.setup.remove(flow)
        flow.left = flow.size
        self.flows.append(flow)
        self.share()

    def leave(self, flow: Flow) -> None:
        self.flows.remove(flow)
        self.share()

    def share(self) -> None:
        for flow in self.flows:
            crossing = [sum(link in other.links for other in self.flows) for link in flow.links]
            shares = [self.bandwidth[link] / count for link, count in zip(flow.links, crossing, strict=True)]
            flow.rate = min(shares)

    def move(self, seconds: float) -> None:
        for flow in self.flows:
            left = flow.left - flow.rate * seconds
            flow.left = left if left > 1e-12 * flow.size else 0.0

    def events(self, now: float) -> list[tuple[float, int, int, Flow]]:
        """What happens next: time, kind, place among equals."""
        setups = [(f.enters, 1, i + len(self.setup) * f.load, f) for i, f in enumerate(self.setup)]
        return [*setups, *((now + f.left / f.rate, 2, f.request.number, f) for f in self.flows)]
