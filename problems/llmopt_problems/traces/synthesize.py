"""A conversation trace in Mooncake's format, made up: multi-turn chats with shared system prompts.

Conversations start as a Poisson process. Each opens with one of a few system prompts (popularity 1, 1/2,
1/3, …), and every turn sends the whole conversation so far and a new message, after a pause to read and type.
So the head of a request repeats what was sent before: by everybody in the system prompt, by the same user
beyond it.

The numbers are chosen, not measured: inputs of thousands of tokens, answers of hundreds, two thirds of the
input seen before (37% in the published conversation trace, whose inputs are longer). They let examples
run without a download; for conclusions about real traffic use the published trace.

    python -m llmopt_problems.traces.synthesize 1500 > trace.jsonl
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as count_from
from itertools import islice
from random import Random

from .mooncake import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class Chats:
    """The traffic that is made up."""

    conversations_per_s: float = 1.3
    system_prompt_tokens: tuple[int, ...] = (2300, 1100, 3700, 600, 1600, 2900)
    mean_turns: float = 2.5
    first_message_tokens: float = 3500.0
    message_tokens: float = 250.0
    answer_tokens: float = 320.0
    length_cv: float = 1.0
    pause_s: float = 40.0
    longest_tokens: int = 24_000
    """A conversation ends before its input grows beyond this."""
    lead_in_s: float = 600.0
    """Cut from the start, until running conversations are as many as they will be."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    """Ids of all blocks of the input, the last possibly partial."""


def synthesize(count: int, seed: int, chats: Chats | None = None) -> Iterator[str]:
    """`count` lines of a Mooncake trace; the same arguments give the same lines on every platform."""
    chats = chats or Chats()
    rng = Random(seed)
    ids = count_from()
    prompts = [_new_blocks(ids, tokens // BLOCK_TOKENS) for tokens in chats.system_prompt_tokens]
    horizon_s = chats.lead_in_s + 3 * count / (chats.conversations_per_s * chats.mean_turns)
    starts = _starts(rng, chats.conversations_per_s, horizon_s)
    turns = [turn for start_s in starts for turn in _conversation(rng, chats, prompts, ids, start_s)]
    kept = sorted(
        (turn for turn in turns if turn.arrival_s >= chats.lead_in_s), key=lambda turn: turn.arrival_s
    )
    return _lines(islice(kept, count), chats.lead_in_s)


def _starts(rng: Random, rate_per_s: float, horizon_s: float) -> Iterator[float]:
    time_s = rng.expovariate(rate_per_s)
    while time_s < horizon_s:
        yield time_s
        time_s += rng.expovariate(rate_per_s)


def _conversation(
    rng: Random, chats: Chats, prompts: list[tuple[int, ...]], ids: Iterator[int], time_s: float
) -> Iterator[Turn]:
    """Turns until a geometric number of them or the longest input is reached."""
    prompt = rng.choices(range(len(prompts)), [1 / (rank + 1) for rank in range(len(prompts))])[0]
    full = prompts[prompt]
    tokens = chats.system_prompt_tokens[prompt] + _length(rng, chats.first_message_tokens, chats.length_cv)
    while tokens <= chats.longest_tokens:
        full += _new_blocks(ids, tokens // BLOCK_TOKENS - len(full))
        answer = _length(rng, chats.answer_tokens, chats.length_cv)
        partial = _new_blocks(ids, 1 if tokens % BLOCK_TOKENS else 0)
        yield Turn(time_s, tokens, answer, full + partial)
        if rng.random() < 1 / chats.mean_turns:
            return
        tokens += answer + _length(rng, chats.message_tokens, chats.length_cv)
        time_s += rng.expovariate(1 / chats.pause_s)


def _new_blocks(ids: Iterator[int], count: int) -> tuple[int, ...]:
    return tuple(islice(ids, count))


def _length(rng: Random, mean: float, cv: float) -> int:
    """A lognormal length of at least one token."""
    variance = math.log1p(cv**2)
    return max(1, round(rng.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))))


def _lines(turns: Iterator[Turn], origin_s: float) -> Iterator[str]:
    """JSON lines with times from the origin in milliseconds and ids renumbered by first appearance."""
    dense: dict[int, int] = {}
    for turn in turns:
        record = {
            "timestamp": round((turn.arrival_s - origin_s) * 1000),
            "input_length": turn.input_tokens,
            "output_length": turn.output_tokens,
            "hash_ids": [dense.setdefault(block, len(dense)) for block in turn.blocks],
        }
        yield json.dumps(record, separators=(",", ":"))


def main() -> None:
    """Prints a trace: number of requests, then optionally the seed."""
    count, seed = (int(argument) for argument in [*sys.argv[1:], "1"][:2])
    for line in synthesize(count, seed):
        print(line)


if __name__ == "__main__":
    main()
