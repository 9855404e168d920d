"""The twin's speculation: random numbers of sequences, tokens of a step, passes of a draft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Law = Callable[..., float]
WORD = 1 << 64
GOLDEN = 0x9E3779B97F4A7C15


def mixed(z: int) -> int:
    """The output function of SplitMix64."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def uniform(stream: int, request: int, place: int) -> float:
    start = mixed((stream + request * GOLDEN) % WORD)
    return (mixed((start + place * GOLDEN) % WORD) >> 11) / 2**53


def tokens_made(survival: tuple[float, ...], stream: int, request: int, produced: int, left: int) -> int:
    """Tokens of a step: one, and every draft token that survives, up to what is left."""
    u = uniform(stream, request, produced)
    return min(left, 1 + sum(u < chance for chance in survival))


def step_seconds(law: Law, draft: Law | None, verify: int, loads: list[tuple[int, int, Any]]) -> float:
    """Seconds of a step whose ranks have these decodes and prefill tokens, the passes of a draft included."""
    b = max(b for b, _, _ in loads)
    context = float(max(sum(q.input + q.emitted for q in r.active) for _, _, r in loads))
    p, work = max(p for _, p, _ in loads), max(r.work() for _, _, r in loads)
    total = sum(verify * b + p for b, p, _ in loads)
    heads = max(verify * b + len(r.shares) for b, _, r in loads)
    rest = max(r.granules() for _, _, r in loads), max(r.squares() for _, _, r in loads)
    seconds = law(b, context + (verify - 1) * b, p, work, total, heads, *rest, verify)
    if draft is None:
        return seconds
    decodes = sum(b for b, _, _ in loads)
    seen = total - (verify - 1) * decodes, heads - (verify - 1) * b
    return seconds + draft_seconds(draft, verify, (b, context, p, work, *seen, *rest), decodes)


def draft_seconds(law: Law, verify: int, state: tuple[float, ...], decodes: int) -> float:
    """Passes of a draft beside a step whose state, b to Q, counts one token a sequence."""
    b, K, p, A, N, h, C, Q = state
    drafted = verify - 1 if b > 0 else 0
    if drafted == 0:
        return law(b, K, p, A, N, h, C, Q) if p > 0 else 0.0
    first = law(b, K, p, A, N, h, C, Q)
    return first + sum(law(b, K + i * b, 0, 0.0, decodes, b, 0.0, 0.0) for i in range(1, drafted))
