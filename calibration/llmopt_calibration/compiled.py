"""A step law ready for millions of evaluations: tables of what one count decides, tapes for attention.

A `StepCompiler` holds the law of one model on one accelerator as tapes whose inputs include the layout; it
is made once.  Compiling a layout binds those inputs, runs the count-dependent tapes over 0…max into tables,
and keeps the two attention tapes.  Nothing is generated or compiled per deployment, and every
`StepArrays` has one numba type.

A law that is measured rather than written fits in the same type: its tables are the measurements, and a
measured attention grid is one more tape operation that reads the tape's grids (see `tabulated`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sympy import Add, Symbol

from llmopt_calibration.curve import Scratch, new_scratch, on_curve
from llmopt_calibration.dependence import AFFINE, SMOOTH, dependence
from llmopt_calibration.lowering import bind, lower
from llmopt_calibration.step.law import Sees, StepLaw
from llmopt_calibration.step.symbols import StepSymbols
from llmopt_calibration.tape import Tape, TapeArrays, evaluate_tape

Table = Annotated[NDArray[np.float64], 2]
"""Shape (largest count + 1, 4): seconds, FLOP, HBM bytes, network bytes; row 0 is zero: nothing runs."""

SECONDS: Final = 0
FLOPS: Final = 1
HBM_BYTES: Final = 2
NETWORK_BYTES: Final = 3
"""Columns of the tables."""

_STATE_SLOTS: Final = 6
_CONTEXT: Final = 1  # the input slot of K in a decode tape


class StepArrays(NamedTuple):
    """One compiled step as numba takes it."""

    rank_tokens: Table
    engine_tokens: Table
    heads: Table
    constant: NDArray[np.float64]
    """Shape (4,): what every step costs."""
    decode_seconds: TapeArrays
    """Inputs b, K."""
    decode_work: TapeArrays
    """Inputs b, K; outputs FLOP, HBM bytes, network bytes."""
    prefill_seconds: TapeArrays
    """Inputs p, A, C, Q, and b and K: decodes in the same kernel can slow prefill down."""
    prefill_work: TapeArrays
    curved: bool
    """Whether decode seconds are smooth in K and no line: polynomials answer for the tape, see `curve`."""
    linear_work: bool
    """Whether decode work is a line in K: the sum over a run of steps is its value at the mean context."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledStep:
    """The step of one deployment."""

    rank_tokens: Table
    engine_tokens: Table
    heads: Table
    constant: NDArray[np.float64]
    decode_seconds: Tape
    decode_work: Tape
    prefill_seconds: Tape
    prefill_work: Tape
    granule: int = 1
    """Tokens to which C rounds up the context before every prefill chunk."""

    def arrays(self) -> StepArrays:
        """The plain arrays, one numba type for every model and deployment."""
        return StepArrays(
            self.rank_tokens,
            self.engine_tokens,
            self.heads,
            self.constant,
            self.decode_seconds.arrays,
            self.decode_work.arrays,
            self.prefill_seconds.arrays,
            self.prefill_work.arrays,
            curved=self._curved(),
            linear_work=dependence(self.decode_work, _CONTEXT) <= AFFINE,
        )

    def scratch(self) -> Scratch:
        """A scratch for `step_seconds` and `step_work`; one a thread."""
        slots = max(_STATE_SLOTS, *(tape.slots for tape in self._tapes()))
        return new_scratch(slots, curves=self._curved())

    def _curved(self) -> bool:
        return dependence(self.decode_seconds, _CONTEXT) == SMOOTH

    def _tapes(self) -> tuple[Tape, Tape, Tape, Tape]:
        return (self.decode_seconds, self.decode_work, self.prefill_seconds, self.prefill_work)


@dataclass(frozen=True, slots=True, eq=False)
class StepCompiler:
    """The tapes of one step law, by what operators see; their inputs are the state, then the parameters."""

    symbols: StepSymbols
    seconds: Mapping[Sees, Tape]
    work: Mapping[Sees, Tape]

    def compile(
        self,
        parameters: Mapping[Symbol, float],
        max_rank_tokens: int,
        max_engine_tokens: int,
        max_batch: int,
    ) -> CompiledStep:
        """The step at one value of every parameter (layout entries, frozen symbols).

        `max_rank_tokens` bounds b + p, `max_engine_tokens` N and `max_batch` h; beyond them a step is NaN.
        """
        seconds = {sees: bind(tape, parameters) for sees, tape in self.seconds.items()}
        work = {sees: bind(tape, parameters) for sees, tape in self.work.items()}
        constant = [seconds["step"].rows([[]])[0], work["step"].rows([[]])[0]]
        return CompiledStep(
            _table(seconds["rank_tokens"], work["rank_tokens"], max_rank_tokens),
            _table(seconds["engine_tokens"], work["engine_tokens"], max_engine_tokens),
            _table(seconds["heads"], work["heads"], max_batch),
            np.concatenate(constant),
            seconds["decode"],
            work["decode"],
            seconds["prefill"],
            work["prefill"],
        )


def step_compiler(law: StepLaw, parameters: Sequence[Symbol] = ()) -> StepCompiler:
    """The compiler of `law`, whose expressions may hold `parameters` beside the step's state.

    Raises `TapeError` where an operator holds a symbol that is neither a parameter nor what it `sees`.
    """
    return StepCompiler(
        law.symbols,
        {sees: _lowered(law, sees, parameters, slice(0, 1)) for sees in get_args(Sees)},
        {sees: _lowered(law, sees, parameters, slice(1, 4)) for sees in get_args(Sees)},
    )


def compile_step(law: StepLaw, max_rank_tokens: int, max_engine_tokens: int, max_batch: int) -> CompiledStep:
    """The compiled step of a law whose layout is numbers; see `StepCompiler.compile` for the bounds."""
    return step_compiler(law).compile({}, max_rank_tokens, max_engine_tokens, max_batch)


def _lowered(law: StepLaw, sees: Sees, parameters: Sequence[Symbol], columns: slice) -> Tape:
    """The sums over the operators that see `sees`, as a tape of the state symbols they see and parameters."""
    rows = [operator.quantities()[columns] for operator in law.operators if operator.sees == sees]
    empty = [(0,) * (columns.stop - columns.start)]
    sums = [Add(*column) for column in zip(*(rows or empty), strict=True)]
    if sees == "rank_tokens":  # b + p is all that counts, so b stands for it
        sums = [total.subs(law.symbols.p, 0) for total in sums]
    return lower(sums, [*_state(law.symbols)[sees], *parameters])


def _state(symbols: StepSymbols) -> Mapping[Sees, tuple[Symbol, ...]]:
    return {
        "rank_tokens": (symbols.b,),
        "engine_tokens": (symbols.N,),
        "heads": (symbols.h,),
        "decode": (symbols.b, symbols.K),
        "prefill": (symbols.p, symbols.A, symbols.C, symbols.Q, symbols.b, symbols.K),
        "step": (),
    }


def _table(seconds: Tape, work: Tape, largest: int) -> Table:
    counts = np.arange(1, largest + 1, dtype=np.float64)[:, None]
    rows = np.concatenate([seconds.rows(counts), work.rows(counts)], axis=1)
    return np.concatenate([np.zeros((1, 4)), rows])


@njit(cache=True, _nrt=False)
def step_seconds(
    step: StepArrays,
    scratch: Scratch,
    b: int,
    K: float,
    p: int,
    A: float,
    N: int,
    h: int,
    C: float = 0.0,
    Q: float = 0.0,
    verify: int = 1,
) -> float:
    """Seconds of a step with the state of `StepSymbols`; 0 for an empty step, NaN beyond the tables.

    A decode sequence has `verify` tokens in the step (its drafts and one), the rank b · verify + p.
    """
    if N <= 0:
        return 0.0
    seconds = fixed_seconds(step, scratch, b, K, p, A, N, h, C, Q, verify)
    return seconds + decode_seconds(step, scratch, b, K) if b > 0 else seconds


@njit(cache=True, _nrt=False)
def fixed_seconds(
    step: StepArrays,
    scratch: Scratch,
    b: int,
    K: float,
    p: int,
    A: float,
    N: int,
    h: int,
    C: float,
    Q: float,
    verify: int = 1,
) -> float:
    """Seconds of a step without decode attention; without prefill they do not depend on K."""
    seconds = step.constant[SECONDS] + _tabulated(step, SECONDS, b * verify + p, N, h)
    if p > 0:
        _see_prefill(scratch, p, A, C, Q, b, K)
        seconds += _attention(step.prefill_seconds, scratch)
    return seconds


@njit(cache=True, _nrt=False)
def decode_seconds(step: StepArrays, scratch: Scratch, b: int, K: float) -> float:
    """Seconds of the attention of `b` ≥ 1 decodes with `K` tokens of context."""
    if step.curved and K >= 1.0:
        seconds = on_curve(step.decode_seconds, scratch, b, K)
        if not np.isnan(seconds):
            return seconds
    _see_decodes(scratch, b, K)
    return _attention(step.decode_seconds, scratch)


@njit(cache=True, _nrt=False)
def step_work(
    step: StepArrays,
    scratch: Scratch,
    b: int,
    K: float,
    p: int,
    A: float,
    N: int,
    h: int,
    C: float = 0.0,
    Q: float = 0.0,
    verify: int = 1,
) -> tuple[float, float, float]:
    """FLOP, HBM bytes and network bytes of one accelerator a stage in a step, summed over the stages."""
    if N <= 0:
        return 0.0, 0.0, 0.0
    flops = step.constant[FLOPS] + _tabulated(step, FLOPS, b * verify + p, N, h)
    hbm_bytes = step.constant[HBM_BYTES] + _tabulated(step, HBM_BYTES, b * verify + p, N, h)
    network_bytes = step.constant[NETWORK_BYTES] + _tabulated(step, NETWORK_BYTES, b * verify + p, N, h)
    if b > 0:
        _see_decodes(scratch, b, K)
        flops += _attention(step.decode_work, scratch)
        hbm_bytes += scratch.slots[step.decode_work.outputs[1]]
        network_bytes += scratch.slots[step.decode_work.outputs[2]]
    if p > 0:
        _see_prefill(scratch, p, A, C, Q, b, K)
        flops += _attention(step.prefill_work, scratch)
        hbm_bytes += scratch.slots[step.prefill_work.outputs[1]]
        network_bytes += scratch.slots[step.prefill_work.outputs[2]]
    return flops, hbm_bytes, network_bytes


@njit(cache=True, _nrt=False)
def _tabulated(step: StepArrays, column: int, n: int, N: int, h: int) -> float:
    if n >= len(step.rank_tokens) or len(step.engine_tokens) <= N or h >= len(step.heads):
        return np.nan
    return step.rank_tokens[n, column] + step.engine_tokens[N, column] + step.heads[h, column]


@njit(cache=True, _nrt=False)
def _see_decodes(scratch: Scratch, b: int, K: float) -> None:
    """Write the inputs of a decode tape."""
    scratch.slots[0] = b
    scratch.slots[1] = K


@njit(cache=True, _nrt=False)
def _see_prefill(scratch: Scratch, p: int, A: float, C: float, Q: float, b: int, K: float) -> None:
    """Write the inputs of a prefill tape."""
    scratch.slots[0] = p
    scratch.slots[1] = A
    scratch.slots[2] = C
    scratch.slots[3] = Q
    scratch.slots[4] = b
    scratch.slots[5] = K


@njit(cache=True, _nrt=False)
def _attention(tape: TapeArrays, scratch: Scratch) -> float:
    """The first output of an attention tape whose inputs are in `scratch`; the others stay there."""
    evaluate_tape(tape, scratch.slots)
    return scratch.slots[tape.outputs[0]]
