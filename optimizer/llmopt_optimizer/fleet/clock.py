"""Work under a time limit: it publishes consistent answers on the way, and whoever asked gets the last one.

The work runs in a thread of its own, so that the limit holds whatever a solver or a simulation is busy with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Generic, TypeVar

from llmopt_optimizer.loop.simulation import StoppedError
from llmopt_optimizer.result import Progress

Answer = TypeVar("Answer")
GRACE_S = 0.5


@dataclass(slots=True)
class Timed(Generic[Answer]):
    """Work in progress, shared by the thread that works and the one that waits."""

    work: Callable[[Timed[Answer]], Answer]
    hear: Callable[[Progress], None]
    latest: Answer | None = None
    finished: Answer | None = None
    error: Exception | None = None
    done: Event = field(default_factory=Event)
    stopped: Event = field(default_factory=Event)
    """Simulations end at their next replication once it is set."""

    def tell(self, progress: Progress) -> None:
        """Pass a report on; raises `StoppedError` when nobody waits any more."""
        if self.stopped.is_set():
            raise StoppedError
        self.hear(progress)

    def publish(self, answer: Answer) -> None:
        """Keep an answer as the best so far."""
        self.latest = answer

    def wait(self, seconds: float) -> Answer | None:
        """The final answer, or after so many seconds the last one published; raises what the work raised."""
        Thread(target=self._run, daemon=True).start()
        try:
            self.done.wait(seconds + GRACE_S)
        finally:
            self.stopped.set()
        if self.error is not None:
            raise self.error
        return self.latest if self.finished is None else self.finished

    def _run(self) -> None:
        try:
            self.finished = self.work(self)
        except StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            self.error = error
        self.done.set()
