"""Every step of a run, on request: a run is repeated with a log, because plain runs keep none.

Runs are deterministic, so the second one is the first one; that is checked.
"""

from __future__ import annotations

import numpy as np

from llmopt_simulator.errors import InvariantError
from llmopt_simulator.kernel import state as k
from llmopt_simulator.kernel.loop import prepare, run_events
from llmopt_simulator.run import Run
from llmopt_simulator.setup import lay_out


def logged_steps(run: Run) -> k.Records:
    """The steps of all engines ordered by start, fields as in `kernel.records.STEP`; 64 bytes a step.

    Raises `InvariantError` when the repeated run differs from the first.
    """
    count = int(run.state.totals[:, k.STEPS].sum())
    state, laws = lay_out(run.workload, run.deployment, run.service, run.seed, run.options, count)
    run_events(prepare(state, laws), k.NONE)
    same = all(np.array_equal(state.requests[name], run.column(name), equal_nan=True) for name in _MOMENTS)
    if not same or int(state.world["logged"][0]) != count:
        raise InvariantError("same seed, same run: a repeated run differs from the first")
    return np.asarray(state.log[np.lexsort((state.log["engine"], state.log["start_s"]))])


_MOMENTS = ("arrival_s", "admitted_s", "prefilled_s", "first_token_s", "finish_s")
