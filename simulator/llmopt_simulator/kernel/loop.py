"""The event loop: take the earliest event, let it happen, start the engines it woke."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llmopt_calibration.layout import Packed, pack
from llmopt_calibration.reference import referred
from llmopt_simulator.kernel.arrivals import is_pause
from llmopt_simulator.kernel.compiling import WORDS, entry, once
from llmopt_simulator.kernel.engine import record_run, start_ready, steps_ended
from llmopt_simulator.kernel.events import arrival_source, link_source
from llmopt_simulator.kernel.laws import Laws
from llmopt_simulator.kernel.lifecycle import arrive, complete_flow, end_set_up, end_steps
from llmopt_simulator.kernel.state import FAULT_CLOCK, FAULT_NONE, NONE, Records, State

_state_at, _laws_at = referred(State), referred(Laws)


class Prepared(NamedTuple):
    """A state and its laws as compiled functions take them."""

    state: Packed
    laws: Packed


def prepare(state: State, laws: Laws) -> Prepared:
    """Raises `TypeError` where an array is not what `State` or `Laws` declares."""
    return Prepared(pack(state, WORDS), pack(laws, WORDS))


def run_events(prepared: Prepared, pause_at: int) -> None:
    """Run until request `pause_at` (NONE: never) is about to arrive, no event is left, or a fault.

    Call it again to go on. At a pause every step that has ended is recorded.
    """
    run_words(prepared.state.words, prepared.laws.words, pause_at)


@entry
def run_words(state: Records, laws_: Records, pause_at: int) -> None:
    """The entry point of the compiled kernel: `run_events` on the words of a state and of its laws."""
    s, laws = _state_at(state), _laws_at(laws_)
    w = s.world[0]
    while w.fault == FAULT_NONE:
        source = s.sources[0].at_place
        time_s = s.sources[source].time_s
        if w.ready > 0 and time_s > w.now_s:
            start_ready(s, laws)
        elif time_s == np.inf:
            return
        elif time_s < w.now_s:
            w.fault = FAULT_CLOCK
        elif _records(s, laws, source, time_s, pause_at):
            return
        else:
            w.now_s = time_s
            _happen(s, source)


@once
def _records(s: State, laws: Laws, source: int, time_s: float, pause_at: int) -> bool:
    """Record the steps that have ended: of the engine whose event is next, or, at a pause, of all engines."""
    engines = s.settings[0].engines
    paused = pause_at != NONE and source == arrival_source(s) and is_pause(s, pause_at)
    first = 0 if paused else min(source, engines)
    for e in range(first, engines if paused else min(source + 1, engines)):
        if s.engines[e].busy == 1:
            record_run(s, laws, e, steps_ended(s, e, time_s))
    return paused


@once
def _happen(s: State, source: int) -> None:
    now_s = s.world[0].now_s
    if source < s.settings[0].engines:
        end_steps(s, source, now_s)
    elif source == arrival_source(s):
        arrive(s, now_s)
    elif source == link_source(s):
        end_set_up(s, now_s)
    else:
        complete_flow(s, now_s)
