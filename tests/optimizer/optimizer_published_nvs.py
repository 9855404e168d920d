"""Gupta and Ravindran's test problems in MINLPLib (nvs01 to nvs24), those without continuous variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from optimizer_published_instance import Instance, Model, V, exact
from sympy import Expr, Integer, Rational, log


def nonlinear() -> Iterator[Instance]:
    """Gupta and Ravindran's test problems, nvs01 to nvs24, those without continuous variables."""
    to200 = ((0, 200),)
    yield Instance(
        "nvs03", 16.0, to200 * 2,
        lambda i: ((i[1] - 8) ** 2 + (i[2] - 2) ** 2, [i[1] ** 2 / 10 - i[2], 2 * i[1] + 6 * i[2] - 27]),
    )  # fmt: skip
    yield Instance(
        "nvs04", 0.72, to200 * 2,
        lambda i: (
            100 * (Rational(1, 2) + i[2] - (Rational(3, 5) + i[1]) ** 2) ** 2 + (Rational(2, 5) - i[1]) ** 2,
            [],
        ),
    )  # fmt: skip
    yield Instance("nvs06", 1.7703125, ((1, 200),) * 2, _nvs06)
    yield Instance(
        "nvs07", 4.0, to200 * 3,
        lambda i: (
            2 * i[2] ** 2 + i[1] + 5 * i[3],
            [10 - i[2] * i[3] ** 2 - 5 * i[3] - 3 * i[1], exact("2.66") - i[1] + i[3]],
        ),
    )  # fmt: skip
    yield Instance("nvs09", -43.13433692, ((3, 9),) * 10, _nvs09)
    yield Instance(
        "nvs10", -310.8, to200 * 2,
        lambda i: (
            7 * i[1] ** 2 + 6 * i[2] ** 2 - 35 * i[1] - exact("80.4") * i[2],
            [
                9 * i[1] ** 2 + 10 * i[1] * i[2] + 8 * i[2] ** 2 - 583,
                6 * i[1] ** 2 + 8 * i[1] * i[2] + 6 * i[2] ** 2 - 441,
            ],
        ),
    )  # fmt: skip
    yield Instance("nvs11", -431.0, to200 * 3, _nvs11)
    yield Instance("nvs12", -481.2, to200 * 4, _nvs12)
    yield Instance("nvs13", -585.2, to200 * 5, _nvs13)
    yield Instance(
        "nvs15", 1.0, to200 * 3,
        lambda i: (
            9 + 2 * i[1] ** 2 - 8 * i[1] + 2 * i[2] ** 2 - 6 * i[2] + i[3] ** 2 - 4 * i[3]
            + 2 * i[1] * i[2] + 2 * i[1] * i[3],
            [i[1] + i[2] + 2 * i[3] - 3],
        ),
    )  # fmt: skip
    yield Instance(
        "nvs16", 0.703125, to200 * 2,
        lambda i: (
            sum(
                (Rational(c, 1000) - i[1] * (1 - i[2] ** p)) ** 2
                for c, p in ((1500, 1), (2250, 2), (2625, 3))
            ),
            [],
        ),
    )  # fmt: skip


def _nvs06(i: V) -> Model:
    x, y = i[1], i[2]
    cost = x**2 + (1 + y**2) / x**2 + (100 + x**2 * y**2) / (x * y) ** 4
    return Rational(6, 5) + cost / 10, []


def _nvs09(i: V) -> Model:
    cost = sum(log(x - 2) ** 2 + log(10 - x) ** 2 for x in i[1:])
    return cost - prod(i[1:], start=Integer(1)) ** Rational(1, 5), []


def _form(i: V, squares: Sequence[int], products: Sequence[tuple[int, int, int]]) -> Expr:
    """Squares by variable, and products (coefficient, one, other)."""
    own = sum(c * x**2 for c, x in zip(squares, i[1:], strict=False))
    return own + sum(c * i[a] * i[b] for c, a, b in products)


def _nvs11(i: V) -> Model:
    cost = (
        _form(i, (7, 6, 8), ((-6, 3, 1), (4, 3, 2))) - exact("15.8") * i[1] - exact("93.2") * i[2] - 63 * i[3]
    )
    return cost, [
        _form(i, (9, 8, 5), ((10, 1, 2), (6, 3, 1), (10, 3, 2))) - 1000,
        _form(i, (6, 6, 4), ((8, 1, 2), (2, 3, 1), (2, 3, 2))) - 550,
        _form(i, (9, 6, 8), ((-2, 2, 1), (-2, 3, 2))) - 340,
    ]


def _nvs12(i: V) -> Model:
    cost = _form(i, (7, 6, 8, 6), ((-6, 3, 1), (4, 3, 2), (2, 4, 1), (2, 4, 3)))
    cost += -20 * i[1] - exact("93.2") * i[2] - exact("67.2") * i[3] - exact("36.6") * i[4]
    first = ((10, 1, 2), (6, 3, 1), (10, 3, 2), (10, 4, 1), (6, 4, 2), (2, 4, 3))
    second = ((8, 1, 2), (2, 3, 1), (2, 3, 2), (-2, 4, 1), (-10, 4, 2))
    third = ((-2, 2, 1), (-2, 3, 2), (-4, 4, 1), (-4, 4, 2), (2, 4, 3))
    fourth = ((2, 2, 1), (2, 3, 1), (4, 3, 2), (-6, 4, 1), (-2, 4, 2), (2, 4, 3))
    return cost, [
        _form(i, (9, 8, 5, 7), first) - 1100,
        _form(i, (6, 6, 4, 8), second) - 440,
        _form(i, (9, 6, 8, 6), third) - 310,
        _form(i, (8, 4, 9, 7), fourth) - 460,
    ]


def _nvs13(i: V) -> Model:
    cost = _form(
        i, (7, 6, 8, 6, 7), ((-6, 3, 1), (4, 3, 2), (2, 4, 1), (2, 4, 3), (-4, 5, 1), (-2, 5, 2), (-6, 5, 3))
    )
    cost += (
        12 * i[1] - exact("77.2") * i[2] - exact("19.2") * i[3] - exact("36.6") * i[4] - exact("69.4") * i[5]
    )
    first = ((10, 1, 2), (6, 3, 1), (10, 3, 2), (10, 4, 1), (6, 4, 2), (2, 4, 3), (2, 5, 2))
    second = ((8, 1, 2), (2, 3, 1), (2, 3, 2), (-2, 4, 1), (-10, 4, 2), (2, 5, 1), (6, 5, 2), (-6, 5, 4))
    third = (
        (-2, 2, 1), (-2, 3, 2), (-4, 4, 1), (-4, 4, 2), (2, 4, 3), (6, 5, 1), (2, 5, 2), (-4, 5, 4),
    )  # fmt: skip
    fourth = (
        (2, 2, 1), (2, 3, 1), (4, 3, 2), (-6, 4, 1), (-2, 4, 2), (2, 4, 3), (6, 5, 1), (4, 5, 2),
        (2, 5, 3), (-6, 5, 4),
    )  # fmt: skip
    fifth = (
        (-2, 2, 1), (6, 3, 1), (2, 4, 1), (-6, 4, 2), (2, 4, 3), (4, 5, 1), (-2, 5, 2), (6, 5, 3), (8, 5, 4),
    )  # fmt: skip
    return cost, [
        _form(i, (9, 8, 5, 7, 7), first) - 1430,
        _form(i, (6, 6, 4, 8, -7), second) - 1150,
        _form(i, (9, 6, 8, 6, -6), third) - 850,
        _form(i, (8, 4, 9, 7, -6), fourth) - 1125,
        _form(i, (4, 5, 8, 6, 7), fifth) - 1030,
    ]
