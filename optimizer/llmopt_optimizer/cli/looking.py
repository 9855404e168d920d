"""Files of a simulated run: timeline, requests, time series, benchmark results; each whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmopt_optimizer.cli.outcome import InputError

if TYPE_CHECKING:
    from llmopt_simulator import Run

_SUFFIXES = {
    "timeline": (".json",),
    "requests": (".csv", ".json", ".parquet"),
    "series": (".csv",),
    "sglang": (".jsonl",),
    "vllm": (".json",),
}


@dataclass(frozen=True, slots=True)
class Looks:
    """Where each of them goes; None: nowhere."""

    timeline: Path | None = None
    requests: Path | None = None
    series: Path | None = None
    sglang: Path | None = None
    vllm: Path | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is anything to write."""
        return any(getattr(self, name) is not None for name in _SUFFIXES)

    def check(self) -> None:
        """Raise `InputError` for a file that cannot be written, before anything is simulated."""
        for name, suffixes in _SUFFIXES.items():
            path: Path | None = getattr(self, name)
            if path is None:
                continue
            if path.suffix not in suffixes:
                raise InputError(f"--{name}: {path} must end in {' or '.join(suffixes)}")
            if not path.parent.is_dir():
                raise InputError(f"--{name}: there is no folder {path.parent}; make it first")

    def write(self, run: Run, model: str) -> None:
        """Write what is wanted of a run of a model with this name."""
        import pandas as pd

        from llmopt_simulator import time_series, write_requests, write_timeline
        from llmopt_simulator.benchmarks import write_sglang, write_vllm
        from llmopt_simulator.files import write_whole

        if self.timeline is not None:
            write_timeline(run, self.timeline)
        if self.requests is not None:
            write_requests(run, self.requests)
        if self.series is not None:
            frame = pd.DataFrame(time_series(run))
            write_whole(self.series, lambda target: frame.to_csv(target, index=False))
        if self.sglang is not None:
            write_sglang(run, self.sglang, model)
        if self.vllm is not None:
            write_vllm(run, self.vllm, model)
