"""How a command ends: its exit code, and a message instead of a traceback.

This is the boundary of the process, the one place where every exception is caught: mistakes of the user
become a message and exit code 2, anything else is an internal error that says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell learns."""

    SOLVED = 0
    FAILED = 1
    BAD_INPUT = 2
    INFEASIBLE = 3
    INTERRUPTED = 130
    CLOSED_PIPE = 141


EXIT_CODES_HELP = (
    "Exit codes: 0 solved, 1 failed, 2 bad input, 3 infeasible, 130 interrupted, 141 output pipe closed."
)


class InputError(Exception):
    """A mistake on the command line: what is wrong and what to do."""


def exit_code(work: Callable[[], ExitCode], debug: bool) -> ExitCode:
    """Run `work` and give its exit code; every failure is reported on stderr in words.

    With `debug` an internal error keeps its traceback.
    """
    try:
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return ExitCode.CLOSED_PIPE
    except KeyboardInterrupt:
        return _said(
            "interrupted: no file was changed; earlier results are as they were", ExitCode.INTERRUPTED
        )
    except Exception as error:  # noqa: BLE001 - the process boundary: nothing may end in a traceback
        return _failed(error, debug)
    return code


def _failed(error: Exception, debug: bool) -> ExitCode:
    if isinstance(error, _user_errors()):
        return _said(f"error: {error}", ExitCode.BAD_INPUT)
    if debug:
        raise error
    place = f"{type(error).__name__}: {error}"
    advice = "please report this with the problem file; --debug shows the traceback"
    return _said(f"internal error: {place} ({advice})", ExitCode.FAILED)


def _said(message: str, code: ExitCode) -> ExitCode:
    print(message, file=sys.stderr)
    return code


def _user_errors() -> tuple[type[Exception], ...]:
    """Exceptions whose text is a finished message for the user."""
    from llmopt_calibration.sources.errors import SourceError
    from llmopt_optimizer.errors import DeploymentError, LaunchError, WorkersError
    from llmopt_optimizer.output.files import OutputError
    from llmopt_problems.errors import ProblemError
    from llmopt_simulator.errors import SimulationError

    mine = (OutputError, InputError, DeploymentError, LaunchError, WorkersError)
    return (*mine, ProblemError, SourceError, SimulationError)


def _discard_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail on the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
