"""A tape: an expression as a list of array instructions that one compiled function interprets.

A tape has slots. The first slots hold the inputs, the next the constants, and every instruction
writes one slot more, from up to three slots before it; some slots are the outputs. Tapes are data: a new
model, deployment or law is a new tape, never a new compilation, and all tapes have one numba type.
`lowering` makes tapes from SymPy expressions.

What the simulator calls is compiled without run-time memory management (`_nrt=False`): it allocates
nothing, and counting references to a tape's arrays cost five times more than evaluating it. It is compiled
into its caller (`forceinline`): a call would copy what describes every array of a step law.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sympy import Symbol

from llmopt_calibration.grid import read_grid

ADD: Final = 0
MUL: Final = 1
DIV: Final = 2
POW: Final = 3
SQRT: Final = 4
EXP: Final = 5
LOG: Final = 6
MAX: Final = 7
MIN: Final = 8
CEIL: Final = 9
FLOOR: Final = 10
ABS: Final = 11
LESS: Final = 12
LESS_EQUAL: Final = 13
EQUAL: Final = 14
AND: Final = 15
OR: Final = 16
NOT: Final = 17
SELECT: Final = 18
LOOKUP: Final = 19
INTERPOLATE: Final = 20
"""Operation codes; truth is 1.0, falsehood 0.0, and `SELECT` is `y if x else z`. The last two read the grid
that starts at `grids[z]` at row x and column y: `LOOKUP` by index, `INTERPOLATE` between knots."""

_ARITY: Final[Mapping[int, int]] = {
    **dict.fromkeys((SQRT, EXP, LOG, CEIL, FLOOR, ABS, NOT), 1),
    **dict.fromkeys((SELECT, LOOKUP, INTERPOLATE), 3),
}


def operands(op: int) -> int:
    """How many operands an operation reads: the others of its instruction mean nothing."""
    return _ARITY.get(op, 2)


class TapeArrays(NamedTuple):
    """What the interpreter reads; one numba type for every tape."""

    inputs: int
    """Number of input slots."""
    constants: NDArray[np.float64]
    """Shape (c,): values of the slots after the inputs."""
    code: Annotated[NDArray[np.int32], 2]
    """Shape (r, 4): operation and three operand slots; instruction i writes slot inputs + c + i."""
    outputs: NDArray[np.int32]
    """Shape (o,): slots that hold the results."""
    grids: NDArray[np.float64]
    """Measured grids, one behind the other as `grid.flat` lays them out; they are read where they lie."""


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """A tape and the symbols that its input slots stand for."""

    symbols: tuple[Symbol, ...]
    arrays: TapeArrays

    @property
    def slots(self) -> int:
        """Length of the scratch array that an evaluation needs."""
        arrays = self.arrays
        return max(1, arrays.inputs + len(arrays.constants) + len(arrays.code))

    def __call__(self, values: Mapping[Symbol, float]) -> NDArray[np.float64]:
        """The outputs, shape (o,), at one value of every input symbol."""
        row = np.array([[float(values[symbol]) for symbol in self.symbols]], dtype=np.float64)
        return self.rows(row)[0]

    def rows(self, inputs: NDArray[np.float64] | Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """The outputs, shape (n, o), at the n rows of `inputs`, shape (n, number of input symbols)."""
        table = np.ascontiguousarray(inputs, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != self.arrays.inputs:
            names = ", ".join(symbol.name for symbol in self.symbols)
            raise ValueError(
                f"inputs of shape {table.shape}: pass (n, {self.arrays.inputs}), columns {names}"
            )
        return _evaluate_rows(self.arrays, table, np.empty(self.slots))


@njit(cache=True, _nrt=False, error_model="numpy")
def apply_operation(op: int, x: float, y: float, z: float) -> float:
    """The value of one instruction; division by zero and logarithms follow IEEE, never raise."""
    if op == MUL:
        return x * y
    if op == ADD:
        return x + y
    if op == DIV:
        return x / y
    if op == MAX:
        return max(x, y)
    if op == MIN:
        return min(x, y)
    if op == SELECT:
        return y if x != 0.0 else z
    return _apply_rare(op, x, y)


@njit(cache=True, _nrt=False, error_model="numpy")
def _apply_rare(op: int, x: float, y: float) -> float:
    if op == POW:
        return x**y
    if op == SQRT:
        return np.sqrt(x)
    if op == EXP:
        return np.exp(x)
    if op == LOG:
        return np.log(x)
    if op == CEIL:
        return np.ceil(x)
    if op == FLOOR:
        return np.floor(x)
    if op == ABS:
        return abs(x)
    return 1.0 if _holds(op, x, y) else 0.0


@njit(cache=True, _nrt=False)
def _holds(op: int, x: float, y: float) -> bool:
    if op == LESS:
        return x < y
    if op == LESS_EQUAL:
        return x <= y
    if op == EQUAL:
        return x == y
    if op == AND:
        return x != 0.0 and y != 0.0
    if op == OR:
        return x != 0.0 or y != 0.0
    return x == 0.0  # NOT


@njit(cache=True, _nrt=False, error_model="numpy")
def evaluate_tape(tape: TapeArrays, scratch: NDArray[np.float64]) -> None:
    """Run `tape` on the inputs in `scratch[:tape.inputs]`; results are `scratch[tape.outputs]`.

    `scratch` needs `Tape.slots` elements or more.
    """
    slot = tape.inputs
    for i in range(len(tape.constants)):
        scratch[slot] = tape.constants[i]
        slot += 1
    code = tape.code
    for i in range(len(code)):
        x, y, z = scratch[code[i, 1]], scratch[code[i, 2]], scratch[code[i, 3]]
        if code[i, 0] < LOOKUP:
            scratch[slot] = apply_operation(code[i, 0], x, y, z)
        else:
            scratch[slot] = read_grid(tape.grids, code[i, 0] == INTERPOLATE, int(z), x, y)
        slot += 1


@njit(cache=True, error_model="numpy")
def _evaluate_rows(
    tape: TapeArrays, inputs: NDArray[np.float64], scratch: NDArray[np.float64]
) -> NDArray[np.float64]:
    results = np.empty((inputs.shape[0], tape.outputs.shape[0]))
    for i in range(inputs.shape[0]):
        for j in range(tape.inputs):
            scratch[j] = inputs[i, j]
        evaluate_tape(tape, scratch)
        for j in range(tape.outputs.shape[0]):
            results[i, j] = scratch[tape.outputs[j]]
    return results
