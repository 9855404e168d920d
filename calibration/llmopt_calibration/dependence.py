"""How the outputs of a tape depend on one of its inputs, read off its instructions.

A curve is what its operations make it: sums of lines are lines, products and powers of smooth functions are
smooth, and only comparisons, rounding and table look-ups can break. So one pass over the tape proves what no
number of samples could.
"""

from __future__ import annotations

from typing import Final

from llmopt_calibration import tape as tp
from llmopt_calibration.tape import Tape

CONSTANT: Final = 0
AFFINE: Final = 1
SMOOTH: Final = 2
"""Analytic wherever no denominator, root or logarithm meets zero."""
BROKEN: Final = 3
"""May have corners or jumps."""

_CURVING: Final = frozenset((tp.POW, tp.SQRT, tp.EXP, tp.LOG))


def dependence(tape: Tape, slot: int) -> int:
    """The worst dependence of an output of `tape` on input `slot`, all other inputs fixed."""
    arrays = tape.arrays
    kinds = [AFFINE if i == slot else CONSTANT for i in range(arrays.inputs)]
    kinds += [CONSTANT] * len(arrays.constants)
    for op, x, y, z in arrays.code.tolist():
        kinds.append(_result(op, [kinds[operand] for operand in (x, y, z)[: tp.operands(op)]]))
    return max(kinds[output] for output in arrays.outputs.tolist())


def _result(op: int, operands: list[int]) -> int:
    worst = max(operands)
    if worst in (CONSTANT, BROKEN):
        return worst
    if op == tp.ADD:
        return worst
    if op == tp.MUL:
        return worst if CONSTANT in operands else SMOOTH
    if op == tp.DIV:
        return worst if operands[1] == CONSTANT else SMOOTH
    return SMOOTH if op in _CURVING else BROKEN
