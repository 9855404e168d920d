"""OpenAI's completions and chat completions: what is asked, and the JSON and events of the answer.

There is no tokenizer: a prompt given as token ids has as many tokens, of text so many characters make one.
Every answer has exactly the asked number of tokens (as with `ignore_eos`), each the same made-up word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

WORD = " token"
DONE = b"data: [DONE]\n\n"
DEFAULT_TOKENS = 16
"""Tokens of an answer that asks for no number, as in OpenAI's completions."""

Kind = Literal["text", "chat"]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=2**20)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int = Field(1, ge=1, le=1)


class TextRequest(_Asked):
    """The body of `/v1/completions`."""

    prompt: str | list[int] | list[str] | list[list[int]] = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: str
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(_Asked):
    """The body of `/v1/chat/completions`."""

    messages: list[_Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**20)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One answer to make."""

    kind: Kind
    input_tokens: int
    output_tokens: int
    stream: bool
    usage: bool
    """Whether the stream ends with the numbers of tokens."""


def wanted_text(body: bytes, characters_per_token: float) -> Wanted:
    """What a body of `/v1/completions` asks for; raises pydantic's `ValidationError`."""
    asked = TextRequest.model_validate_json(body)
    tokens = _prompt_tokens(asked.prompt, characters_per_token)
    return _wanted("text", asked, tokens, asked.max_tokens)


def wanted_chat(body: bytes, characters_per_token: float) -> Wanted:
    """What a body of `/v1/chat/completions` asks for; raises pydantic's `ValidationError`."""
    asked = ChatRequest.model_validate_json(body)
    characters = sum(len(_text(message.content)) for message in asked.messages)
    tokens = math.ceil(characters / characters_per_token)
    return _wanted("chat", asked, tokens, asked.max_completion_tokens or asked.max_tokens)


def _wanted(kind: Kind, asked: _Asked, input_tokens: int, output_tokens: int | None) -> Wanted:
    usage = bool((asked.stream_options or {}).get("include_usage"))
    return Wanted(kind, max(1, input_tokens), output_tokens or DEFAULT_TOKENS, asked.stream, usage)


def _prompt_tokens(prompt: str | list[int] | list[str] | list[list[int]], characters_per_token: float) -> int:
    if isinstance(prompt, str):
        return math.ceil(len(prompt) / characters_per_token)
    if all(isinstance(each, int) for each in prompt):
        return len(prompt)
    return sum(_prompt_tokens(each, characters_per_token) for each in prompt if not isinstance(each, int))


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return content or ""


@dataclass(frozen=True, slots=True)
class Words:
    """The pieces of one answer as bytes, ready to be sent."""

    wanted: Wanted
    head: Mapping[str, Any]
    """Id, time and model."""
    event: bytes
    """One token of a stream."""

    def events(self, tokens: int) -> bytes:
        """The events of so many tokens."""
        return self.event * tokens

    def ending(self) -> bytes:
        """What ends a stream: the reason, the numbers of tokens where they were asked for, the mark."""
        last = _event({**self.head, "choices": [{**_piece(self.wanted.kind, ""), "finish_reason": "length"}]})
        usage = _event({**self.head, "choices": [], "usage": self._usage()}) if self.wanted.usage else b""
        return last + usage + DONE

    def whole(self) -> bytes:
        """The answer as one document."""
        text = WORD * self.wanted.output_tokens
        message = {"role": "assistant", "content": text}
        content = {"message": message} if self.wanted.kind == "chat" else {"text": text, "logprobs": None}
        choice = {"index": 0, **content, "finish_reason": "length"}
        kind = "chat.completion" if self.wanted.kind == "chat" else "text_completion"
        return json.dumps({**self.head, "object": kind, "choices": [choice], "usage": self._usage()}).encode()

    def _usage(self) -> dict[str, int]:
        prompt, completion = self.wanted.input_tokens, self.wanted.output_tokens
        total = prompt + completion
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def words(wanted: Wanted, number: int, created: int, model: str) -> Words:
    """The pieces of answer `number`."""
    chat = wanted.kind == "chat"
    head = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{number}",
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": created,
        "model": model,
    }
    token = {**head, "choices": [{**_piece(wanted.kind, WORD), "finish_reason": None}]}
    return Words(wanted, head, _event(token))


def _piece(kind: Kind, text: str) -> dict[str, Any]:
    if kind == "chat":
        return {"index": 0, "delta": {"content": text}, "logprobs": None}
    return {"index": 0, "text": text, "logprobs": None}


def _event(document: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"
