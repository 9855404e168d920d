"""The twin's map: accelerators of a cluster given out one by one, and the ways between instances."""

from __future__ import annotations

import math

from llmopt_problems.deployment import Deployment
from llmopt_simulator.service import KvTransfer


class Map:
    """Where instances lie, numbered through the pools, and what a transfer between two of them crosses."""

    def __init__(self, deployment: Deployment, transfer: KvTransfer) -> None:
        self.transfer = transfer
        self.placement = deployment.transfers.placement
        self.slots: list[int | None] = []  # accelerator by accelerator, who has it
        pools = [[(n, pool.layout.world) for n in range(pool.instances)] for pool in deployment.pools]
        self.pools: list[list[tuple[int, int]]] = []
        for pool in pools:
            before = sum(len(other) for other in self.pools)
            self.pools.append([(before + n, size) for n, size in pool])
        self.node = transfer.near.gpus if transfer.near else 1
        firsts = [pool[0][0] for pool in self.pools]
        for instance, size in self.order():
            if self.placement == "apart" and instance in firsts and transfer.near:
                self.fill()
            self.place(instance, size)

    def order(self) -> list[tuple[int, int]]:
        """Who is placed when."""
        everybody = [entry for pool in self.pools for entry in pool]
        if self.placement != "paired" or self.transfer.near is None:
            return everybody
        share = {}
        for pool in self.pools:
            share |= {instance: (n + 0.5) / len(pool) for n, (instance, _) in enumerate(pool)}
        return sorted(everybody, key=lambda entry: (share[entry[0]], entry[0]))

    def fill(self) -> None:
        while len(self.slots) % self.node:
            self.slots.append(None)

    def place(self, instance: int, size: int) -> None:
        left = -len(self.slots) % self.node
        if size > left and self.transfer.near:
            self.fill()
        self.slots += [instance] * size
        if size > self.node and self.transfer.near:
            self.fill()

    def far(self, sender: int, receiver: int) -> int:
        """0 in one node, 1 in one rack, 2 between racks."""
        a, b = self.slots.index(sender), self.slots.index(receiver)
        if self.transfer.near and a // self.node == b // self.node:
            return 0
        rack = self.transfer.rack.gpus if self.transfer.rack else math.inf
        return 1 if a // rack == b // rack else 2

    def latency(self, sender: int, receiver: int) -> float:
        far, rack = self.far(sender, receiver), self.transfer.rack
        if far == 0:
            assert self.transfer.near is not None
            return self.transfer.near.latency_s
        return self.transfer.latency_s + (rack.latency_s if far == 2 and rack else 0.0)

    def way(self, sender: int, receiver: int) -> dict[object, float]:
        """The names of the links, with their bandwidth."""
        far, link = self.far(sender, receiver), self.transfer
        tier = link.near if far == 0 and link.near else link
        crossed: dict[object, float] = {
            ("out", far == 0, sender): tier.sender_bytes_per_s,
            ("in", far == 0, receiver): tier.receiver_bytes_per_s,
        }
        if far == 2 and link.rack:
            racks = [self.slots.index(end) // link.rack.gpus for end in (sender, receiver)]
            crossed[("up", racks[0])] = crossed[("down", racks[1])] = link.rack.bytes_per_s
        return crossed
