"""How the kernel is compiled: one entry point, cached on disk, without reference counts.

The kernel only changes arrays that it is given. So it needs no run-time memory management (`_nrt`: counting
references at every call took four fifths of the run time), and only its entry point needs a wrapper
that Python can call (wrappers took a third of the compile time). And the state is some twenty arrays, a
hundred and fifty machine words, which every call would copy: inlined code copies nothing and is twice as
fast.

Numba forgets a cached function when the file that defines it changes, but not when a function that it calls
does. So only the entry point is cached, and its argument type names a fingerprint of every source that it is
made from: a kernel of other sources has another type and is not found.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from numba import njit

from llmopt_calibration import compiled, curve, grid, tape

entry = njit(cache=True, nogil=True, _nrt=False)
"""Compiles what Python calls; it touches no Python object, so other threads may run beside it."""

inner = njit(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)
"""Compiles what only the kernel calls, into the place where it is called."""

apart = njit(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compiles once what the kernel calls seldom: every copy of it would take its time to compile."""


def source_fingerprint() -> str:
    """Eight hexadecimal digits that change with the kernel's sources and the step law's."""
    laws = (Path(str(module.__file__)) for module in (compiled, curve, grid, tape))
    sources = [*sorted(Path(__file__).parent.glob("*.py")), *laws]
    digest = sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:8]
