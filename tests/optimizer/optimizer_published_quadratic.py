"""Small quadratic programs of Tawarmalani and Sahinidis's collection in MINLPLib (names in st_)."""

from __future__ import annotations

from collections.abc import Iterator

from optimizer_published_instance import Instance, Model, V, linear, rows, separable
from sympy import Rational

TEST5 = (
    (-2, -6, -1, 0, -3, -3, -2, -6, -2, -2, -4),
    (6, -5, 8, -3, 0, 1, 3, 8, 9, -3, 22),
    (-5, 6, 5, 3, 8, -8, 9, 2, 0, -9, -6),
    (9, 5, 0, -9, 1, -8, 3, -9, -9, -3, -23),
    (-8, 7, -4, -5, -9, 1, -7, -1, 3, -2, -12),
    (-7, -5, -2, 0, -6, -6, -7, -6, 7, 7, -3),
    (1, -3, -3, -4, -1, 0, -4, 1, 6, 0, 1),
    (1, -2, 6, 9, 0, -7, 9, -9, -6, 4, 12),
    (-4, 6, 7, 2, 2, 0, 6, 6, -7, 4, 15),
    (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9),
    (-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1),
)
"""Rows of st_test5, the first five also of st_test6: coefficients, then the right side of `<=`."""


def quadratic() -> Iterator[Instance]:
    """Small quadratic programs of Tawarmalani and Sahinidis's collection (names in st_)."""
    bits = ((0, 1),)
    yield Instance(
        "st_test1", 0.0, bits * 5,
        lambda i: (
            separable(i, ("50", "50", "0", "50", "50"), ("42", "-44", "45", "-47", "-47.5")),
            [linear(i, 20, 12, 11, 7, 4) - 40],
        ),
    )  # fmt: skip
    yield Instance(
        "st_test2", -9.25, (*bits * 5, (0, 20)),
        lambda i: (
            separable(
                i, ("0.5", "0.25", "1.5", "0.5", "0.5", "0"), ("10.5", "-7.5", "-3.5", "2.5", "-1.5", "10")
            ),
            [linear(i, 6, 3, 3, 2, 1, 0) - Rational(13, 2), linear(i, 10, 0, 10, 0, 0, 1) - 20],
        ),
    )  # fmt: skip
    yield Instance("st_test3", -7.0, (*bits * 9, *((0, 8),) * 3, (0, 1)), _test3)
    yield Instance("st_test4", -7.0, ((0, 16), (0, 8), (0, 2), (0, 1), (0, 1), (0, 2)), _test4)
    yield Instance(
        "st_test5", -110.0, bits * 10,
        lambda i: (
            separable(
                i,
                ("5",) * 7 + ("0",) * 3,
                ("-20", "-80", "-20", "-50", "-60", "-90", "0", "10", "10", "10"),
            ),
            rows(i, TEST5),
        ),
    )  # fmt: skip
    yield Instance(
        "st_test6", 471.0, bits * 10,
        lambda i: (
            separable(i, ("50",) * 10, ("48", "42", "48", "45", "44", "41", "47", "42", "45", "46")),
            rows(i, TEST5[:5]),
        ),
    )  # fmt: skip
    yield Instance("st_test8", -29605.0, ((0, 41),) * 24, _test8)
    yield Instance("st_testgr1", -12.8116, ((0, 100),) * 10, _testgr1)
    yield Instance("st_testph4", -80.5, ((0, 4),) * 3, _testph4)
    yield Instance(
        "st_miqp1", 281.0, bits * 5,
        lambda i: (
            separable(i, ("50",) * 5, ("42", "44", "45", "47", "47.5")), [40 - linear(i, 20, 12, 11, 7, 4)]
        ),
    )  # fmt: skip
    yield Instance(
        "st_miqp2", 2.0, (*bits * 2, (0, 10), (0, 20)),
        lambda i: (
            separable(i, ("0", "0", "4", "2"), ("4", "5", "-3", "-10")),
            [i[3] - 10 * i[1], i[4] - 20 * i[2], 5 - i[3] - i[4]],
        ),
    )  # fmt: skip
    yield Instance(
        "st_miqp3", -6.0, ((0, 3), (0, 12)), lambda i: (6 * i[1] ** 2 - 3 * i[2], [i[2] - 4 * i[1]])
    )


def _test3(i: V) -> Model:
    cost = sum(5 * i[n] ** 2 for n in (1, 2, 3, 4)) + 5 * i[1] - 5 * i[2] + 5 * i[3] + 5 * i[4]
    cost += 9 * i[10] ** 2 - i[10] - i[5] + i[6] - i[7] - i[8] - i[9] - i[11] - i[12] - i[13]
    return cost, [
        2 * i[1] + 2 * i[2] + i[10] + i[11] - 10,
        2 * i[1] + 2 * i[3] + i[10] + i[12] - 10,
        2 * i[2] + 2 * i[3] + i[11] + i[12] - 10,
        *(i[n + 9] - 8 * i[n] for n in (1, 2, 3)),
        i[10] - 2 * i[4] - i[5],
        i[11] - 2 * i[6] - i[7],
        i[12] - 2 * i[8] - i[9],
    ]


def _test4(i: V) -> Model:
    cost = separable(i, ("0.5", "0", "0", "0", "0", "7"), ("6.5", "-1", "-2", "3", "-2", "-1"))
    return cost, [
        linear(i, 1, 2, 8, 1, 3, 5) - 16,
        linear(i, -8, -4, -2, 2, 4, -1) + 1,
        linear(i, 2, "0.5", "0.2", -3, -1, -4) - 24,
        linear(i, "0.2", 2, "0.1", -4, 2, 2) - 12,
        linear(i, "-0.1", "-0.5", 2, 5, -5, 3) - 3,
    ]


def _test8(i: V) -> Model:
    """A transport from six sources to four sinks, all of it."""
    squares = (7, 4, 6, 8, 12, 9, 14, 7, 13, 12, 8, 4, 7, 9, 16, 8, 4, 10, 21, 13, 17, 9, 8, 4)
    lines = (
        300, 270, -460, 800, 740, -600, 540, 380, 300, -490, 380, 760,
        -430, 250, 390, 600, -210, 830, 470, -680, 360, 290, -400, 310,
    )  # fmt: skip
    cost = separable(i, [str(s) for s in squares], [str(line) for line in lines])
    sums = [
        *(sum(i[sink + 4 * n] for n in range(6)) - d for sink, d in enumerate((29, 41, 13, 21), start=1)),
        *(sum(i[4 * n + sink] for sink in (1, 2, 3, 4)) - s for n, s in enumerate((8, 24, 20, 24, 16, 12))),
    ]
    return cost, [*sums, *(-total for total in sums)]


def _testgr1(i: V) -> Model:
    squares = (
        "0.00055",
        "0.0019",
        "0.0002",
        "0.00095",
        "0.0046",
        "0.0035",
        "0.00315",
        "0.00475",
        "0.0048",
        "0.003",
    )
    lines = (
        "-0.0583", "0.2318", "-0.0108", "0.1634", "-0.138", "0.357", "-0.1953", "-0.361", "0.1824", "-0.162",
    )  # fmt: skip
    table = (
        (8, 7, 9, 0, 9, 8, 2, 0, 4, 1, 530),
        (3, 4, 6, 9, 0, 6, 9, 1, 0, 1, 395),
        (0, 2, 1, 5, 5, 0, 7, 4, 2, 0, 350),
        (5, 0, 7, 1, 7, 5, 0, 7, 9, 5, 405),
        (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 200),
    )
    return separable(i, squares, lines), rows(i, table)


def _testph4(i: V) -> Model:
    table = (
        (2, 3, 4, 35), (2, 3, -4, 19), (2, -3, 4, 23), (-2, 3, 4, 27),
        (2, -3, -4, 7), (-2, -3, 4, 15), (-2, 3, -4, 11),
    )  # fmt: skip
    return separable(i, ("3.5", "0.5", "2"), ("-35", "3", "4")), rows(i, table)
