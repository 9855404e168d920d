"""Random small programs: the shapes of serving problems, in miniature."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import optimizer_core_naive as naive
from sympy import Expr, Float, Max, Min, Mod, Piecewise, Rational, Symbol, ceiling, exp, floor, log

from llmopt_optimizer.core.program import (
    Constraint,
    Decision,
    Limit,
    Objective,
    Pool,
    Program,
    State,
    System,
    Variant,
)

LOAD = Symbol("load", positive=True)
DOMAINS = ((1, 2), (1, 2, 4), (1, 2, 4, 8), (2, 3, 5), (0.5, 1.25, 3.0), (16, 32, 64))


@dataclass(frozen=True)
class Case:
    """A program and all its joint assignments with their metrics, limits and exclusions not applied."""

    program: Program
    points: list[naive.Point]


def number(rng: random.Random) -> Expr:
    """A coefficient: whole, rational or a float with few digits."""
    return rng.choice(
        (
            lambda: Float(round(rng.uniform(0.1, 5.0), 3)),
            lambda: Rational(rng.randint(1, 9), rng.randint(1, 4)),
            lambda: Rational(rng.randint(1, 6)),
        )
    )()


def attribute(rng: random.Random, symbols: list[Symbol]) -> Expr:
    """A random expression of decisions, states and the parameter, in the shapes of step laws."""
    x, y = rng.choice(symbols), rng.choice(symbols)
    a, b = number(rng), number(rng)
    return rng.choice(
        (
            lambda: a * x + b * y,
            lambda: a / x + b * y,
            lambda: a * ceiling(b * x / y),
            lambda: Max(a * x, b * y) + LOAD,
            lambda: Min(a * x, b * y, 4),
            lambda: Piecewise((a * x, y <= b), (b + x, True)),
            lambda: a * floor(x / 2) + y,
            lambda: a * x ** Rational(1, 2) * y,
            lambda: a * exp(-x / 4) + log(1 + y),
            lambda: a * Mod(ceiling(x), 3) + b * LOAD / y,
            lambda: ceiling(x / a) * Max(b, y / 2),
        )
    )()


def state(rng: random.Random, name: str, symbols: list[Symbol]) -> State:
    """An implicit equation with its smallest root at moderate slope, or with no root at all."""
    x, y = Symbol(name, positive=True), rng.choice(symbols)
    a, b = number(rng), Float(round(rng.uniform(0.02, 0.6), 3))
    equation = rng.choice(
        (
            lambda: a + b * x ** Float(0.9),
            lambda: a / y + b * x,
            lambda: a / y + b * x**2 / 8,
            lambda: a + b * ceiling(x / 2),
            lambda: a / y / Max(1 - b * x / 9, Rational(1, 100)),
            lambda: Max(a / y, b * x + LOAD / 10),
        )
    )()
    return State(x, equation, Float(0), Float(round(rng.uniform(2.0, 60.0), 2)))


def variant(rng: random.Random, name: str, tag: str, attributes: list[Symbol]) -> Variant:
    decisions = [
        Decision(Symbol(f"{tag}_d{index}", positive=True), rng.choice(DOMAINS))
        for index in range(rng.randint(1, 2))
    ]
    symbols = [decision.symbol for decision in decisions]
    states = [state(rng, f"{tag}_x", symbols)] if rng.random() < 0.5 else []
    seen = symbols + [s.symbol for s in states]
    constraints = []
    if rng.random() < 0.4:
        x, y = rng.choice(seen), rng.choice(symbols)
        constraints.append(Constraint("rule", x * y - rng.choice((2, 4, 8, 16, 3.75, 96))))
    return Variant(
        name,
        tuple(decisions),
        {s: attribute(rng, seen) for s in attributes},
        tuple(states),
        tuple(constraints),
    )


def metric(rng: random.Random, groups: list[list[Symbol]]) -> Expr:
    """A random coupling of the pools' attributes."""
    p = rng.choice(groups[0])
    q = rng.choice(groups[-1])
    r = rng.choice(groups[rng.randrange(len(groups))])
    a, b = number(rng), number(rng)
    return rng.choice(
        (
            lambda: p + q,
            lambda: a * p + b * q + LOAD,
            lambda: Max(p, q),
            lambda: Min(p, a * q),
            lambda: Max(a * p, q) + r,
            lambda: Min(p, q) - b * r,
            lambda: (p + a * q) / (1 + r),
            lambda: p * q + r,
            lambda: ceiling((p + q) / 3),
            lambda: Piecewise((p, q <= a), (p + b * q, True)),
            lambda: (p + q) / Max(Min(p, r), Rational(1, 10)),
            lambda: r,
        )
    )()


def system(rng: random.Random, name: str, metrics: int) -> System:
    pools, groups = [], []
    for index in range(rng.randint(1, 2)):
        attributes = [Symbol(f"{name}_p{index}_a{k}", real=True) for k in range(rng.randint(1, 3))]
        variants = tuple(
            variant(rng, f"v{k}", f"{name}_p{index}_v{k}", attributes) for k in range(rng.randint(1, 2))
        )
        pools.append(Pool(f"pool{index}", variants))
        groups.append(attributes)
    constraints = []
    if rng.random() < 0.25:
        constraints.append(Constraint("coupling", groups[0][0] + groups[-1][-1] - rng.choice((3, 8, 20, 60))))
    return System(
        name, tuple(pools), {f"m{k}": metric(rng, groups) for k in range(metrics)}, tuple(constraints)
    )


def random_case(seed: int, most_objectives: int = 3) -> Case:
    """A program with its naive points; limits often lie exactly on achieved values, exclusions on optima."""
    rng = random.Random(seed)
    metrics = rng.randint(1, 4)
    systems = tuple(system(rng, f"s{index}", metrics) for index in range(rng.randint(1, 2)))
    chosen = rng.sample(range(metrics), rng.randint(1, min(most_objectives, metrics)))
    objectives = tuple(Objective(f"m{k}", rng.choice(("minimize", "maximize"))) for k in chosen)
    program = Program(systems, objectives, (), {LOAD: round(rng.uniform(0.5, 4.0), 2)})
    points = naive.all_points(program)
    program = replace(program, limits=limits(rng, metrics, points))
    return Case(replace(program, excluded=exclusions(rng, program, points)), points)


def limits(rng: random.Random, metrics: int, points: list[naive.Point]) -> tuple[Limit, ...]:
    drawn = []
    for _ in range(rng.randint(0, 2) if points else 0):
        name = f"m{rng.randrange(metrics)}"
        value = rng.choice(points).metrics[name] + rng.choice((0.0, 0.0, rng.uniform(-2, 2)))
        drawn.append(Limit(name, rng.choice(("at_most", "at_least")), value, f"limit{len(drawn)}"))
    return tuple(drawn)


def exclusions(
    rng: random.Random, program: Program, points: list[naive.Point]
) -> frozenset[naive.Assignment]:
    """Some of the best assignments, and some others."""
    possible = naive.feasible(program, points)
    if not possible or rng.random() < 0.5:
        return frozenset()
    vectors = naive.cost_vectors(program, possible)
    ranked = sorted(range(len(possible)), key=vectors.__getitem__)
    taken = ranked[: rng.randint(1, 3)] + rng.sample(ranked, min(2, len(ranked)))
    return frozenset(possible[index].assignment for index in taken)
