"""The pump: moves a live run along the wall clock and hands tokens to those who wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from llmopt_simulator.live import LiveRun

TICK_S = 0.002
"""Pause between two looks at the run; tokens are late by at most this and what a look takes."""


@dataclass(slots=True)
class Answer:
    """What has come of one request and was not fetched yet."""

    tokens: int = 0
    ended: bool = False
    rejected: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self) -> int:
        """Tokens that came since the last call, after waiting for some; `ended` tells whether all have."""
        await self.news.wait()
        self.news.clear()
        tokens, self.tokens = self.tokens, 0
        return tokens

    def tell(self, tokens: int, *, ended: bool, rejected: bool = False) -> None:
        """Note tokens that came, and wake who waits."""
        self.tokens += tokens
        self.ended, self.rejected = ended, rejected
        self.news.set()


@dataclass(slots=True)
class Pump:
    """A live run on the wall clock: `speed` simulated seconds a second."""

    make: Callable[[], LiveRun]
    """Lays out an empty run; called again when one is full and idle."""
    speed: float = 1.0
    clock: Callable[[], float] = time.perf_counter
    run: LiveRun = field(init=False)
    finished_runs: list[LiveRun] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    tokens: int = 0
    """Tokens made so far, over all runs."""
    _began_s: float = field(init=False)
    _busy: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.run = self.make()
        self.run.advance(0.0)  # a new installation compiles the kernel here, not in the first request
        self._began_s = self.clock()

    def submit(self, input_tokens: int, output_tokens: int) -> Answer | None:
        """Let a request arrive now; None when the run is full of requests under way."""
        if self.run.room < 1 and not self._renewed():
            return None
        self.look()
        number = self.run.submit(input_tokens, output_tokens)
        answer = self.answers[number] = Answer()
        self._busy.set()
        return answer

    def look(self) -> None:
        """Advance the run to now and tell everybody what came."""
        told = self.run.advance((self.clock() - self._began_s) * self.speed)
        for each in told.came:
            self.tokens += each.tokens
            answer = self.answers.get(each.request) if not each.last else self.answers.pop(each.request, None)
            if answer is not None:
                answer.tell(each.tokens, ended=each.last)
        for number in told.rejected:
            if (answer := self.answers.pop(number, None)) is not None:
                answer.tell(0, ended=True, rejected=True)

    async def work(self) -> None:
        """Look again and again while anything is under way; ends only by being cancelled."""
        while True:
            if not self.run.under_way:
                self._busy.clear()
                await self._busy.wait()
            await asyncio.sleep(TICK_S)
            self.look()

    def _renewed(self) -> bool:
        """Start an empty run, where nothing of this one is under way."""
        self.look()
        if self.run.under_way:
            return False
        self.finished_runs.append(self.run)
        self.run, self._began_s = self.make(), self.clock()
        return True
