"""What one engine can do at best: floors of its step time, and prices of tokens in engine time.

An engine has `dp` ranks that step together. A step that serves B decodes and P prompt tokens takes at least
`floor(B, P)`: the compiled law with both spread evenly over the ranks and the smallest context of any
request, made monotone. From it follow two kinds of bound.

*Alone.* A prompt of c tokens is computed in pieces of at most min(c, chunk) tokens, so it takes at least
c times the smallest floor(0, p)/p over such pieces, whatever shares its steps.

*Together.* Let requests of W decode steps and P prompt tokens be served in `available` seconds of engine
time, so that their steps, weighted by tokens, take x seconds in the mean. For any mu, psi >= 0 let phi be
the smallest `(floor(b, p) (1 + mu b) - psi p) / b` over all steps. Summing over the steps,
`W phi + P psi <= sum t (1 + mu b) <= available + mu x W`: a lower bound of x for every (mu, psi), and with
mu = 0 a test whether the time is enough at all. This is linear-programming duality over all mixes of steps,
so it needs no convexity of the law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmopt_calibration.compiled import SECONDS, CompiledStep

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MULTIPLIERS = np.concatenate([[0.0], np.geomspace(2.0**-12, 1.0, 17)])
"""Of mean step time against engine time (mu); 0 tests capacity."""
PROMPT_SHARES = np.array([1.0, 0.9, 0.7, 0.0])
"""Of the highest price that prompt tokens can have (psi)."""


@dataclass(frozen=True, slots=True)
class StepFloor:
    """Floors of the parts of a step by count, index 0 unused where a count of 0 means that nothing runs."""

    constant_s: float
    rank_s: Floats
    engine_s: Floats
    heads_s: Floats
    decode_s: Floats
    """By decodes of a rank, at the smallest context."""
    prefill_s: Floats
    """By prompt tokens of a rank, each attending to itself only."""
    dp: int

    def seconds(self, decodes: Ints, prompt: Ints) -> Floats:
        """Floor of a step with these decodes and prompt tokens of the whole engine; arrays broadcast."""
        tokens = decodes + prompt
        on_rank, on_rank_prompt = (-(-count // self.dp) for count in (decodes, prompt))
        heads = np.maximum(on_rank, (prompt > 0).astype(np.int64))
        seconds = self.constant_s + _at(self.rank_s, -(-tokens // self.dp)) + _at(self.engine_s, tokens)
        seconds = seconds + _at(self.heads_s, heads)
        return np.asarray(seconds + _at(self.decode_s, on_rank) + _at(self.prefill_s, on_rank_prompt))


def step_floor(
    step: CompiledStep, dp: int, smallest_context: float, most_decodes: int, most_prompt: int
) -> StepFloor:
    """The floors of a compiled step whose decodes have at least `smallest_context` tokens."""
    decodes = np.arange(1.0, most_decodes + 1)
    prompt = np.arange(1.0, most_prompt + 1)
    decode = step.decode_seconds.rows(np.stack([decodes, decodes * smallest_context], axis=1))[:, 0]
    prefill = step.prefill_seconds.rows(_bare(prompt, step.prefill_seconds.arrays.inputs))[:, 0]
    return StepFloor(
        float(step.constant[SECONDS]),
        _monotone(step.rank_tokens[:, SECONDS]),
        _monotone(step.engine_tokens[:, SECONDS]),
        _monotone(step.heads[:, SECONDS]),
        _monotone(np.concatenate([[0.0], decode])),
        _monotone(np.concatenate([[0.0], prefill])),
        dp,
    )


def _bare(prompt: Floats, inputs: int) -> Floats:
    """Inputs p, A, C, Q, b, K of prompt tokens that attend to themselves only, no decodes beside them."""
    rows = np.zeros((len(prompt), inputs))
    rows[:, 0] = rows[:, 1] = rows[:, 3] = prompt
    return rows


def _monotone(values: Floats) -> Floats:
    """The largest nondecreasing minorant: the smallest value from here on."""
    return np.asarray(np.minimum.accumulate(values[::-1])[::-1])


def _at(values: Floats, index: Ints) -> Floats:
    return np.asarray(values[np.minimum(index, len(values) - 1)])


def decode_alone_s(step: CompiledStep, floor: StepFloor, context: Ints) -> Floats:
    """Shortest decode step of sequences with these contexts, shape as `context`."""
    rows = np.stack([np.ones(len(context)), context.astype(np.float64)], axis=1)
    one = np.ones(1, dtype=np.int64)
    others = float(floor.seconds(one, one * 0)[0] - floor.decode_s[1])
    return np.asarray(others + step.decode_seconds.rows(rows)[:, 0])


def prompt_price_s(floor: StepFloor, chunk_tokens: int) -> Floats:
    """Smallest seconds of a prompt token in pieces of at most p tokens on one rank, by p = 1 … chunk.

    Shape (chunk + 1,); index 0 is not read.
    """
    pieces = np.arange(1, chunk_tokens + 1)
    alone = floor.constant_s + _at(floor.rank_s, pieces) + _at(floor.engine_s, pieces)
    alone = alone + _at(floor.heads_s, np.ones_like(pieces)) + _at(floor.prefill_s, pieces)
    return np.concatenate([[np.inf], np.minimum.accumulate(alone / pieces)])


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Prices in engine seconds for every multiplier (mu) and prompt price (psi): arrays [mu, psi]."""

    decode_s: Floats
    """phi: of a decode step of one sequence, [largest batch, mu, psi] up to every batch."""
    batches: Ints
    """The largest batch of each row of `decode_s`."""
    prompt_s: Floats
    """psi, shape [psi]."""

    def decode_price_s(self, most_decodes: int) -> Floats:
        """Phi of engines that hold up to `most_decodes` sequences, [mu, psi]."""
        row = int(np.searchsorted(self.batches, most_decodes))
        return np.asarray(self.decode_s[min(row, len(self.batches) - 1)])


def token_prices(floor: StepFloor, most_decodes: int, most_prompt: int) -> TokenPrices:
    """The prices of an engine whose steps hold up to so many decodes and prompt tokens in all ranks."""
    low_b, high_b = _cells(most_decodes)
    low_p, high_p = _cells(most_prompt)
    low_p, high_p = np.concatenate([[0], low_p]), np.concatenate([[0], high_p])
    seconds = floor.seconds(low_b[:, None], low_p[None, :])
    highest = float((floor.seconds(low_p[1:] * 0, low_p[1:]) / high_p[1:]).min()) if most_prompt else 0.0
    prompt_s = PROMPT_SHARES * highest
    weighted = seconds[:, :, None] * (1 + MULTIPLIERS * low_b[:, None, None])
    worst = np.stack([(weighted - psi * high_p[None, :, None]).min(axis=1) for psi in prompt_s], axis=-1)
    worst = worst / high_b[:, None, None]
    return TokenPrices(np.minimum.accumulate(worst, axis=0), high_b, prompt_s)


def _cells(most: int) -> tuple[Ints, Ints]:
    """Ranges that together hold 1 … most: single counts up to 64, then about 6% wide."""
    edges = list(range(1, min(most, 64) + 1))
    while edges and edges[-1] < most:
        edges.append(min(most, max(edges[-1] + 1, int(edges[-1] * 1.06))))
    low = np.array(edges, dtype=np.int64)
    high = np.concatenate([low[1:] - 1, low[-1:]]) if edges else low
    return low, np.maximum(low, high)


@dataclass(frozen=True, slots=True)
class Load:
    """What requests ask of engines: their decode steps, prompt tokens, and the time that there is."""

    decode_steps: float
    prompt_tokens: float
    span_s: float
    """Time from the first arrival to the end of the last prompt."""
    longest_decode_steps: float
    """Of one request: so many steps may end later."""


def needed_s(prices: TokenPrices, most_decodes: int, decode_steps: float, prompt_tokens: float) -> float:
    """Smallest engine time in which so many decode steps and prompt tokens can be served."""
    phi = prices.decode_price_s(most_decodes)[0] if decode_steps else 0.0
    return float((decode_steps * phi + prompt_tokens * prices.prompt_s).max())


def mean_step_s(prices: TokenPrices, most_decodes: int, load: Load, engines: Floats) -> Floats:
    """Smallest token-weighted mean step time of the decodes of `load`, by number of engines; may be negative
    where nothing is known.
    """
    phi, mu = prices.decode_price_s(most_decodes)[1:], MULTIPLIERS[1:, None]
    spent = load.decode_steps * phi + load.prompt_tokens * prices.prompt_s
    left = spent[None] - engines[:, None, None] * load.span_s
    weight = mu[None] * load.decode_steps + engines[:, None, None] * load.longest_decode_steps
    return np.asarray((left / weight).max(axis=(1, 2)))
