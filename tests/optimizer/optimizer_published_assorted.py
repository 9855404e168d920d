"""Assorted integer programs of MINLPLib, and families that a definition generates.

Generated are low autocorrelation sequences (Liers, Marinari, Pagacz, Ricci-Tersenghi and Schmitz 2010, called
autocorr_bern) and Steiner triple systems (Fulkerson, Nemhauser and Trotter 1974; stein27 is in MIPLIB 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import prod

from optimizer_published_instance import Instance, Model, V, exact, linear
from sympy import Expr, Integer, Rational


def assorted() -> Iterator[Instance]:
    yield Instance("prob02", 112235.0, ((1, 100), *((1, 20),) * 5), _prob02)
    yield Instance(
        "prob03", 10.0, ((1, 5),) * 2, lambda i: (3 * i[1] + 2 * i[2], [exact("3.5") - i[1] * i[2]])
    )
    yield Instance(
        "gear", 0.0, ((12, 60),) * 4,
        lambda i: ((exact("0.14427932477276") - i[1] * i[2] / (i[3] * i[4])) ** 2, []),
    )  # fmt: skip
    yield Instance("ex1263a", 19.6, (*((0, 5),) * 16, *((0, 1),) * 4, *((0, 30),) * 4), _trim_loss)
    yield Instance("sporttournament06", -12.0, ((0, 1),) * 15, _sporttournament06)
    yield Instance("hmittelman", 13.0, ((0, 1),) * 16, _hmittelman)


def _prob02(i: V) -> Model:
    weight = linear(i, 0, 330, 360, 370, 415, 435)
    return 8000 * i[1] - weight, [
        weight - 8000,
        7700 - weight,
        sum(i[2:]) - 20,
        *(least - i[1] * i[n] for n, least in enumerate((60, 30, 75, 30, 100), start=2)),
    ]


def _trim_loss(i: V) -> Model:
    """Trim loss (Harjunkoski, Westerlund and Pörn): widths 290 … 455 cut from rolls of 1,850."""
    widths, orders = (290, 315, 350, 455), (15, 28, 21, 30)
    pieces = [[i[4 * kind + pattern] for kind in range(4)] for pattern in (1, 2, 3, 4)]
    used, repeats = i[17:21], i[21:25]
    cost = sum(repeats) + sum(Rational(n, 10) * b for n, b in enumerate(used, start=1))
    rules = [
        order - sum(m * cut[kind] for m, cut in zip(repeats, pieces, strict=True))
        for kind, order in enumerate(orders)
    ]
    for cut, b, m in zip(pieces, used, repeats, strict=True):
        width = sum(w * n for w, n in zip(widths, cut, strict=True))
        rules += [1750 * b - width, width - 1850 * b, b - sum(cut), sum(cut) - 5 * b, b - m, m - 30 * b]
    rules.append(19 - sum(repeats))
    for values in (used, repeats):
        rules += [later - earlier for earlier, later in pairwise(values)]
    return cost, rules


def _sporttournament06(i: V) -> Model:
    plus = "1.3 1.7 2.5 2.10 4.9 5.6 5.8 6.9 7.12 7.13 8.10 8.15 9.11 10.11 10.12 14.15"
    minus = "3.4 3.12 3.14 4.5 4.15 7.8 9.12 13.15"

    def products(pairs: str) -> Expr:
        return sum(i[int(a)] * i[int(b)] for a, b in (pair.split(".") for pair in pairs.split()))

    line = -i[1] + i[3] - i[7] - i[2] - i[5] - 2 * i[10] + i[4] - i[9] - i[6] - i[8] - i[11]
    return 2 * (products(plus) - products(minus) + line), []


def _hmittelman(i: V) -> Model:
    terms = {
        name: prod((i[int(n)] for n in text.split(".")), start=Integer(1))
        for name, text in {
            "a": "5.7.9.10.14.15.16", "b": "1.2.3.4.8.11", "c": "3.4.6.7.8", "d": "3.4.8.11", "e": "6.7.8.12",
            "f": "6.7.9.14.16", "g": "9.10.14.16", "h": "5.10.14.15.16", "k": "1.2.11.12", "m": "13.14.15.16",
        }.items()
    }  # fmt: skip

    def form(**coefficients: int) -> Expr:
        return sum(coefficient * terms[name] for name, coefficient in coefficients.items())

    return form(a=10, b=7, c=1, d=12, e=8, f=3, g=1, h=5, k=3), [
        form(a=3, b=-12, c=-8, d=1, k=-7, m=2) + 2,
        form(b=1, c=-10, e=-5, f=1, g=7, h=1) + 1,
        form(a=5, b=-3, c=-1, h=-2, m=1) + 1,
        form(b=3, a=-5, c=1, h=2, m=-1) - 1,
        form(c=-4, d=-2, f=-5, g=1, h=-9, k=-2) + 3,
        form(b=9, d=-12, e=-7, f=6, h=2, k=-15, m=3) + 7,
        form(b=5, a=-8, c=2, d=-7, e=-1, g=-5, k=-10) + 1,
    ]


def generated() -> Iterator[Instance]:
    for length, window, optimum in ((20, 3, -72), (25, 3, -92), (20, 5, -416), (30, 4, -324)):
        name = f"autocorr_bern{length}-{window:02d}"
        yield Instance(name, optimum, ((0, 1),) * length, lambda i, w=window: (_autocorrelation(i, w), []))
    for points, optimum in ((9, 5), (27, 18)):
        yield Instance(f"stein{points}", optimum, ((0, 1),) * points, _steiner)


def _autocorrelation(i: V, window: int) -> Expr:
    """Energy of a sequence of ±1 in windows, without the energy of a constant one."""
    spins = [2 * x - 1 for x in i[1:]]
    energy = sum(
        sum(spins[j] * spins[j + d] for j in range(start, start + window - d)) ** 2
        for start in range(len(spins) - window + 1)
        for d in range(1, window)
    )
    constant = (len(spins) - window + 1) * sum((window - d) ** 2 for d in range(1, window))
    return energy.expand().subs({x**p: x for x in i[1:] for p in (2, 3, 4)}) - constant


def _steiner(i: V) -> Model:
    """Fewest points that meet every triple of a Steiner system."""
    points = len(i) - 1
    triples = _triples(points)
    covered = {frozenset(pair) for triple in triples for pair in combinations(triple, 2)}
    assert len(covered) == points * (points - 1) // 2 == 3 * len(triples)
    return sum(i[1:]), [1 - sum(i[n + 1] for n in triple) for triple in triples]


def _triples(points: int) -> list[tuple[int, ...]]:
    """The lines of an affine space over three elements: three points whose coordinates sum to zero."""
    digits = {9: 2, 27: 3}[points]

    def third(a: int, b: int) -> int:
        return sum((-(a // 3**d + b // 3**d) % 3) * 3**d for d in range(digits))

    return [(a, b, c) for a in range(points) for b in range(a + 1, points) if (c := third(a, b)) > b]
