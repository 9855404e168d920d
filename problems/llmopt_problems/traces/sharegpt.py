"""ShareGPT conversations: a JSON list of texts, without times and usually without token counts.

Format: the cleaned ShareGPT releases, `[{"conversations": [{"from": "human", "value": "…"}, …]}, …]`. As in
the serving benchmarks of vLLM and SGLang a request is the first message and the answer to it; conversations
without both, or with an empty one, are left out. A message may carry its count as `tokens`; else tokens are
estimated as characters divided by the `characters_per_token` that the problem states, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from .documents import values
from .rows import Place, Row, check_tokens

REMEDY = 'write [{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}, …]'


def rows(file: Path, characters_per_token: float | None) -> Iterator[Row]:
    """The first exchange of every conversation of `file`; all arrive at time 0."""
    for place, value in values(file, REMEDY):
        first = _messages(value, place)[:2]
        if len(first) == 2 and all(_text(message, place) for message in first):
            inputs, outputs = (_tokens(message, place, characters_per_token) for message in first)
            yield Row(place.line, 0.0, inputs, outputs)


def _messages(value: object, place: Place) -> list[dict[str, object]]:
    found = value.get("conversations") if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(message, dict) for message in found):
        raise place.error("this is no conversation", "trace-column", REMEDY)
    return found


def _text(message: dict[str, object], place: Place) -> str:
    text = message.get("value")
    if not isinstance(text, str):
        raise place.error("a message has no text", "trace-column", REMEDY, text)
    return text


def _tokens(message: dict[str, object], place: Place, characters_per_token: float | None) -> int:
    if "tokens" in message:
        return check_tokens(message["tokens"], "tokens", place)
    if characters_per_token is None:
        what = "the text has no token count"
        remedy = (
            "set characters_per_token to estimate it (about 4 for English), or give tokens to every message"
        )
        raise place.error(what, "trace-estimate", remedy)
    count = math.ceil(len(_text(message, place)) / characters_per_token)
    return check_tokens(count, "the estimated number of tokens", place)
