"""How the kernel is compiled: one entry point, cached on disk, without reference counts, each function once.

The kernel only changes arrays that it is given. So it needs no run-time memory management (`_nrt`: counting
references at every call took four fifths of the run time), and only its entry point needs a wrapper
that Python can call (wrappers took a third of the compile time). State and laws are one pointer each (see
`llmopt_calibration.reference`), so calls are cheap and LLVM decides what it inlines.

Numba compiles a function with all that it calls, so what is called deep down is compiled at every level
above: levels are what compiling costs. What is called from one place is merged into its caller (`once`).

Numba forgets a cached function when the file that defines it changes, but not when a function that it calls
does. So only the entry point is cached, and its argument type names a fingerprint of every source that it is
made from: a kernel of other sources has another type and is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.extending import models, register_model

from llmopt_calibration import compiled, curve, grid, layout, reference, tape

_CALLED: Final = {"error_model": "numpy", "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

entry = njit(cache=True, nogil=True, _nrt=False)
"""Compiles what Python calls; it touches no Python object, so other threads may run beside it."""

once = njit(inline="always", **_CALLED)
"""Compiles what is called from one place, as a part of its caller: a level less."""


class _AnyNumbers(types.Dispatcher):
    """A compiled function to which a literal is any number: numba compiles for 0, 1 and -1 apart."""

    def get_call_type(self, context: Any, args: tuple[Any, ...], kws: Mapping[str, Any]) -> Any:
        plain = tuple(types.unliteral(arg) for arg in args)
        return super().get_call_type(context, plain, kws)


register_model(_AnyNumbers)(models.OpaqueModel)


@dataclass(frozen=True, slots=True, eq=False)
class _Inner:
    """What numba takes for a function when it meets one in the code of another."""

    dispatcher: Any
    _numba_type_: _AnyNumbers


def inner(function: Callable[..., Any]) -> Any:
    """Compiles what only the kernel calls."""
    dispatcher = njit(**_CALLED)(function)
    return _Inner(dispatcher, _AnyNumbers(dispatcher))


def source_fingerprint() -> str:
    """Eight hexadecimal digits that change with the kernel's sources and the step law's."""
    laws = (Path(str(module.__file__)) for module in (compiled, curve, grid, layout, reference, tape))
    sources = [*sorted(Path(__file__).parent.glob("*.py")), *laws]
    digest = sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:8]


WORDS: Final = np.dtype([(f"compiled_from_{source_fingerprint()}", "i8")])
"""What the words of state and laws are to numba: eight bytes, and the name of what the kernel was made of."""
