"""A map over a few threads that nobody has to wait for: they are daemons, so an interrupt ends at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


def mapped(run: Callable[[Item], Found], items: Sequence[Item], workers: int) -> Iterator[Found]:
    """`run(item)` of every item, in order, `workers` at a time; raises what `run` raises."""
    done: SimpleQueue[tuple[int, Found | None, Exception | None]] = SimpleQueue()
    numbers = count()

    def work() -> None:
        while (index := next(numbers)) < len(items):
            try:
                done.put((index, run(items[index]), None))
            except Exception as error:  # noqa: BLE001 - raised by the thread that waits
                done.put((index, None, error))
                return

    for _ in range(min(workers, len(items))):
        Thread(target=work, daemon=True).start()
    early: dict[int, Found] = {}
    for wanted in range(len(items)):
        while wanted not in early:
            index, found, error = done.get()
            if error is not None:
                raise error
            early[index] = found  # type: ignore[assignment]
        yield early.pop(wanted)
