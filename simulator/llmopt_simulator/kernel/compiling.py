"""How the kernel is compiled: cached on disk, without reference counts, one entry point.

The kernel only changes arrays that it is given. So it needs no run-time memory management (`_nrt`: counting
references at every call took four fifths of the run time), and only its entry point needs a wrapper
that Python can call (wrappers took a third of the compile time).
"""

from __future__ import annotations

from numba import njit

entry = njit(cache=True, _nrt=False)
"""Compiles what Python calls."""

inner = njit(cache=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compiles what only the kernel calls."""
