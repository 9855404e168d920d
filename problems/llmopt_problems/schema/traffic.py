"""The traffic section: how requests arrive, how long they are, what they share, of which classes."""

from __future__ import annotations

import math
from typing import Self

from pydantic import BaseModel, Field, model_validator

from ..errors import RuleError
from .arrivals import (
    Arrivals,
    BatchArrivals,
    ClosedLoop,
    CurvePoint,
    DayCurveArrivals,
    DeterministicArrivals,
    GammaArrivals,
    OnOffArrivals,
    OpenArrivals,
    PoissonArrivals,
    SinusoidArrivals,
    TraceArrivals,
    TraceFormat,
    WeibullArrivals,
)
from .fields import SECTION, Share, unit_keys, with_units
from .lengths import (
    ConstantLength,
    EmpiricalLength,
    ExponentialLength,
    Length,
    LengthField,
    LognormalLength,
    NormalLength,
    UniformLength,
    ZipfLength,
    typical_least,
)
from .sharing import Conversation, SharedPrefix

__all__ = [
    "Arrivals",
    "BatchArrivals",
    "ClosedLoop",
    "ConstantLength",
    "Conversation",
    "CurvePoint",
    "DayCurveArrivals",
    "DeterministicArrivals",
    "EmpiricalLength",
    "ExponentialLength",
    "GammaArrivals",
    "Length",
    "LognormalLength",
    "NormalLength",
    "OnOffArrivals",
    "OpenArrivals",
    "PoissonArrivals",
    "RequestClass",
    "SharedPrefix",
    "SinusoidArrivals",
    "TraceArrivals",
    "TraceFormat",
    "Traffic",
    "UniformLength",
    "WeibullArrivals",
    "ZipfLength",
]

_DESCRIBED = ("input_tokens", "output_tokens", "shared_prefix", "conversation")
_REQUIRED = ("input_tokens", "output_tokens")


class RequestClass(BaseModel):
    """Requests of one kind, with their own lengths and sharing."""

    model_config = with_units(share=("share",))
    name: str = Field(
        min_length=1, max_length=100, description="Name of the class, for service levels and reports."
    )
    share: Share = Field(gt=0, le=1, description="Share of all requests that are of this class.")
    input_tokens: LengthField = Field(description="Prompt lengths.")
    output_tokens: LengthField = Field(description="Answer lengths.")
    shared_prefix: SharedPrefix | None = Field(default=None, description="Prefixes shared within the class.")
    conversation: Conversation | None = Field(default=None, description="Turns that build on each other.")
    _units = model_validator(mode="before")(unit_keys("share"))

    @model_validator(mode="after")
    def _prefix_fits(self) -> Self:
        check_prefix(self.shared_prefix, self.input_tokens)
        return self


class Traffic(BaseModel):
    """Arrivals, and what arrives: one kind of requests described here, or several in `classes`.

    A trace brings its own lengths; every other process needs them, here or in every class.
    """

    model_config = SECTION
    arrivals: Arrivals = Field(description="How requests arrive.")
    input_tokens: LengthField | None = Field(
        default=None, description="Prompt lengths; absent with a trace or classes."
    )
    output_tokens: LengthField | None = Field(
        default=None, description="Answer lengths; absent with a trace or classes."
    )
    shared_prefix: SharedPrefix | None = Field(
        default=None, description="Shared prefixes; absent with a trace or classes."
    )
    conversation: Conversation | None = Field(
        default=None, description="Turns that build on each other; absent with a trace or classes."
    )
    classes: tuple[RequestClass, ...] = Field(
        default=(), strict=False, max_length=64, description="Kinds of requests; their shares add up to 1."
    )

    @model_validator(mode="after")
    def _described_once(self) -> Self:
        if isinstance(self.arrivals, TraceArrivals):
            self._refuse(
                (*_DESCRIBED, "classes"), "the trace already brings this", "trace-twice", "the trace"
            )
        elif self.classes:
            self._refuse(_DESCRIBED, "every class brings its own", "classes-twice", "classes")
        else:
            self._require_lengths()
        return self

    def _refuse(self, keys: tuple[str, ...], what: str, rule: str, other: str) -> None:
        for key in keys:
            if getattr(self, key):
                raise RuleError(what, rule, f"remove {key} or {other}", (key,))

    def _require_lengths(self) -> None:
        for key in _REQUIRED:
            if getattr(self, key) is None:
                remedy = f"add {key}: {{distribution: constant, value: 500}}"
                raise RuleError(f"{key} is missing", "lengths-missing", remedy)

    @model_validator(mode="after")
    def _classes_are_whole(self) -> Self:
        names = [each.name for each in self.classes]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise RuleError(
                    f"there is a class {name} already", "class-name", "rename one", ("classes", index, "name")
                )
        total = math.fsum(each.share for each in self.classes)
        if self.classes and not math.isclose(total, 1, rel_tol=0, abs_tol=1e-6):
            what = f"the shares of the classes add up to {total:g}"
            raise RuleError(what, "class-shares", "make them add up to 1", ("classes",))
        return self

    @model_validator(mode="after")
    def _loop_has_no_conversations(self) -> Self:
        if not isinstance(self.arrivals, ClosedLoop):
            return self
        what, remedy = "users of a closed loop send single requests", "use open arrivals, such as poisson"
        if self.conversation is not None:
            raise RuleError(what, "conversation-loop", remedy, ("conversation",))
        for index, each in enumerate(self.classes):
            if each.conversation is not None:
                raise RuleError(what, "conversation-loop", remedy, ("classes", index, "conversation"))
        return self

    @model_validator(mode="after")
    def _prefix_fits(self) -> Self:
        check_prefix(self.shared_prefix, self.input_tokens)
        return self


def check_prefix(prefix: SharedPrefix | None, inputs: Length | None) -> None:
    """RuleError for a prefix longer than the inputs that shall carry it."""
    if prefix is None or inputs is None:
        return
    room = typical_least(inputs)
    if prefix.tokens > room:
        raise RuleError(
            "the shared prefix is longer than the input",
            "prefix-longer-than-input",
            f"use at most {math.floor(room)} tokens, or longer inputs",
            ("shared_prefix", "tokens"),
        )
