"""Integer programs of MINLPLib and MIPLIB with their published optima, as programs of the core.

Instances of MINLPLib (https://www.minlplib.org/NAME.html, CC BY 4.0) are written from its data; integer
variables have lower bound 0 there unless said otherwise, and bounds of 1e15 are replaced by what the
constraints imply. Those of MIPLIB 3 are its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf
from pathlib import Path

import highspy
from optimizer_published_assorted import assorted, generated
from optimizer_published_instance import Instance, Model, V, exact
from optimizer_published_nvs import nonlinear
from optimizer_published_quadratic import quadratic
from sympy import Expr, Integer


def instances() -> tuple[Instance, ...]:
    """All of them."""
    return (*nonlinear(), *quadratic(), *assorted(), *generated(), *binary())


def binary() -> Iterator[Instance]:
    """Instances of MIPLIB 3 (Crowder, Johnson and Padberg) as their files say, all variables binary."""
    for name, optimum in (("p0033", 3089.0), ("lseu", 1120.0)):
        yield _of_file(Path(__file__).parent / "instances" / f"{name}.mps", optimum)


def _of_file(path: Path, optimum: float) -> Instance:
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.readModel(str(path))
    lp = solver.getLp()
    assert set(lp.col_lower_) == {0.0}
    assert set(lp.col_upper_) == {1.0}
    columns = [slice(*ends) for ends in pairwise(lp.a_matrix_.start_)]

    def model(i: V) -> Model:
        rows: list[Expr] = [Integer(0)] * lp.num_row_
        for x, column in zip(i[1:], columns, strict=True):
            for row, value in zip(lp.a_matrix_.index_[column], lp.a_matrix_.value_[column], strict=True):
                rows[row] += exact(f"{value:.12g}") * x
        cost = sum(exact(f"{c:.12g}") * x for c, x in zip(lp.col_cost_, i[1:], strict=True))
        above = [
            row - exact(f"{end:.12g}") for row, end in zip(rows, lp.row_upper_, strict=True) if end < inf
        ]
        below = [
            exact(f"{end:.12g}") - row for row, end in zip(rows, lp.row_lower_, strict=True) if end > -inf
        ]
        return cost, [*above, *below]

    return Instance(path.stem, optimum, ((0, 1),) * lp.num_col_, model)
