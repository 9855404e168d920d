"""How engines choose the work of a step: settings of `search.scheduling`, no decisions.

The formulas of the optimizer know one scheduling, decodes first in one queue, planned ahead or not; what
another one does is measured by simulation, which decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, Field, model_validator

from ..deployment import KvGrowth, Mixing, QueueOrder, Scheduling
from ..errors import RuleError
from .fields import Count, Seconds, Share, unit_keys, with_units

_SCHEDULING = Scheduling()
_GROWTH = KvGrowth()


class GrowthSettings(BaseModel):
    """KV pages are taken as sequences grow; when none is left, the last running request starts again."""

    model_config = with_units(
        conservativeness=("share",), conservativeness_floor=("share",), watermark=("share",)
    )
    conservativeness: Share = Field(
        default=_GROWTH.conservativeness,
        ge=0,
        le=1,
        description="Share of the output to come that admission keeps pages for (SGLang begins at 0.7).",
    )
    conservativeness_floor: Share | None = Field(
        default=None,
        ge=0,
        le=1,
        description="What it falls to while nothing is retracted; default: it stays.",
    )
    decay_steps: Count = Field(
        default=_GROWTH.decay_steps, description="Decode steps in which it falls there."
    )
    watermark: Share = Field(
        default=_GROWTH.watermark, ge=0, lt=1, description="Share of the pages that admission leaves free."
    )
    spare_page: bool = Field(
        default=_GROWTH.spare_page,
        description="Whether a decode asks for a free page even when its last one has room (vLLM 0).",
    )
    _units = model_validator(mode="before")(
        unit_keys("conservativeness", "conservativeness_floor", "watermark")
    )

    @model_validator(mode="after")
    def _floor_is_below(self) -> Self:
        floor = self.conservativeness_floor
        if floor is not None and floor > self.conservativeness:
            raise RuleError(
                "the floor is above what it falls from",
                "growth-floor",
                "lower conservativeness_floor or raise conservativeness",
                ("conservativeness_floor",),
            )
        return self

    def growth(self) -> KvGrowth:
        """The same as a part of a deployment."""
        return KvGrowth(**self.model_dump())


class SchedulingSettings(BaseModel):
    """How an engine chooses the work of its next step."""

    model_config = with_units(window=("time",), step_overhead=("time",))
    mixing: Mixing = Field(
        default=_SCHEDULING.mixing,
        description="decode_first: decodes, then prefill up to the token budget, in one step (vLLM, SGLang "
        "with mixed chunks). prefill_first: steps of prefill alone while there is any (SGLang's default).",
    )
    order: QueueOrder = Field(
        default=_SCHEDULING.order, description="Of waiting requests; ties in order of arrival."
    )
    priorities: tuple[str, ...] = Field(
        default=(),
        strict=False,
        max_length=64,
        description="With order priority: names of the classes, first served first; default: as listed.",
    )
    queue_limit: int | None = Field(
        default=None, ge=1, le=10**6, description="Waiting requests at which a rank rejects the next one."
    )
    window_s: Seconds = Field(
        default=_SCHEDULING.window_s,
        alias="window",
        ge=0,
        description='How long an idle engine gathers requests before its first step, such as "5 ms".',
    )
    window_requests: Count | None = Field(
        default=None, description="Waiting requests that end the window early."
    )
    step_overhead_s: Seconds = Field(
        default=_SCHEDULING.step_overhead_s,
        alias="step_overhead",
        ge=0,
        description='CPU time to schedule a step, beside what the step law holds, such as "2 ms".',
    )
    overlapped: bool = Field(
        default=_SCHEDULING.overlapped,
        description="Whether that time runs beside the step before, or the accelerator waits for it.",
    )
    plan_ahead: bool = Field(
        default=_SCHEDULING.plan_ahead,
        description="Whether a step is planned while the one before runs: a request that comes during a step "
        "waits for the one after next (vLLM async scheduling, SGLang overlap schedule).",
    )
    kv_growth: GrowthSettings | None = Field(
        default=None, description="Pages as sequences grow; default: for the whole request at admission."
    )
    _units = model_validator(mode="before")(unit_keys("window", "step_overhead"))

    @model_validator(mode="after")
    def _priorities_are_used(self) -> Self:
        if self.priorities and self.order != "priority":
            raise RuleError(
                f"priorities of classes in a queue that is {self.order}",
                "priorities-unused",
                "set order: priority or remove priorities",
                ("priorities",),
            )
        return self

    @model_validator(mode="after")
    def _ahead_is_overlapped(self) -> Self:
        if self.plan_ahead and not self.overlapped:
            raise RuleError(
                "steps are planned while the one before runs, and the accelerator waits for the planning",
                "plan-ahead-overlapped",
                "remove overlapped: false or plan_ahead",
                ("plan_ahead",),
            )
        return self

    @model_validator(mode="after")
    def _window_has_time(self) -> Self:
        if self.window_requests is not None and self.window_s == 0:
            raise RuleError(
                "requests end a window that has no time",
                "window-missing",
                'add window: "5 ms" or remove window_requests',
                ("window_requests",),
            )
        return self

    def scheduling(self, classes: Sequence[str] = ()) -> Scheduling:
        """The same as a part of a deployment whose traffic has `classes`, in their order."""
        ranks = tuple(self.priorities.index(name) for name in classes) if self.priorities else ()
        return Scheduling(
            mixing=self.mixing,
            order=self.order,
            priorities=ranks,
            queue_limit=self.queue_limit,
            window_s=self.window_s,
            window_requests=self.window_requests,
            step_overhead_s=self.step_overhead_s,
            overlapped=self.overlapped,
            plan_ahead=self.plan_ahead,
            growth=self.kv_growth.growth() if self.kv_growth is not None else None,
        )


def check_priorities(settings: SchedulingSettings, classes: Sequence[str]) -> None:
    """RuleError, at its place, when the priorities do not name every class of the traffic once."""
    if settings.priorities and sorted(settings.priorities) != sorted(classes):
        named, known = ", ".join(settings.priorities), ", ".join(classes) or "none"
        raise RuleError(
            f"priorities name {named}; the classes are {known}",
            "priorities-classes",
            "name every class of the traffic once",
            ("search", "scheduling", "priorities"),
        )
