"""From a run file (or flags alone) to the problem and the deployment that it stands for.

`load_run` reads it with the care of problem files. `problem_of` spells out the load, the model and what the
pools stand on; `deployment_document` is the short form of a deployment, as `--deployment` takes it;
`workload_of` are its requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .document import check_tree, compose, plain, read_text
from .errors import Fault, ProblemError
from .faults import validated
from .fit import unfit
from .overrides import apply_override
from .schema import Problem
from .schema.run import RunSpec
from .traffic import Workload, first_seconds, sample
from .units import format_quantity

MOST_REQUESTS = 10**6
"""Of a run that ends by time."""


def load_run(path: str | Path | None, overrides: Iterable[str] = ()) -> RunSpec:
    """The run in a YAML or JSON file with `key=value` overrides, or in the overrides alone.

    Raises ProblemError with every fault found, at its place.
    """
    source = None if path is None else Path(path)
    root = compose("{}" if source is None else read_text(source), str(source or "flags"))
    check_tree(root)
    for option in overrides:
        apply_override(root, option)
        check_tree(root)
    return validated(root, Path() if source is None else source.parent, RunSpec)


def is_run(path: str | Path) -> bool:
    """Whether a file is a run: it has no `kind`, which every problem has."""
    if not Path(path).is_file():
        return False
    root = compose(read_text(Path(path)), str(path))
    check_tree(root)
    found = plain(root)
    return isinstance(found, dict) and "kind" not in found and "model" in found


def problem_of(run: RunSpec) -> Problem:
    """The problem whose only deployment is that of the run; ProblemError for names that no catalog has."""
    pools = list(run.pools.values())
    document = {
        "kind": "deployment",
        "name": run.name,
        "model": _model(run),
        "hardware": _hardware(run),
        "engine": run.engine,
        "coefficients": run.coefficients,
        "traffic": run.traffic.model_dump() if run.traffic is not None else _traffic(run),
        "search": {
            "modes": ["aggregated" if len(pools) == 1 else "disaggregated"],
            "router": run.router,
            "prefix_cache": run.prefix_cache,
            "memory_fraction": run.memory_fraction,
        },
        "objectives": [{"minimize": "gpus"}],
        "verification": {"requests": run.requests or 1, "replications": 1, "seed": run.seed},
    }
    problem = Problem.model_validate(document)
    faults = [Fault(rule.what, rule.rule, rule.remedy) for rule in unfit(problem)]
    if faults:
        raise ProblemError(*faults)
    return problem


def workload_of(run: RunSpec, problem: Problem, seed: int) -> Workload:
    """The requests of the run: so many, or all that arrive within its duration.

    Raises ProblemError where these are none, more than `MOST_REQUESTS`, or all warm-up.
    """
    if run.duration_s is None:
        return sample(problem.traffic, problem.verification.requests, seed)
    count = 1024
    while True:
        drawn = sample(problem.traffic, count, seed)
        if len(drawn.requests) < count or drawn.requests.arrival_s[-1] >= run.duration_s:
            return _nonempty(first_seconds(drawn, run.duration_s))
        if count > MOST_REQUESTS:
            what = f"more than {MOST_REQUESTS} requests arrive in {run.duration_s:g} s"
            raise ProblemError(Fault(what, "run-size", "shorten duration or lower the rate", key="duration"))
        count *= 2  # longer draws begin as shorter ones


def warmup_fraction(run: RunSpec, workload: Workload) -> float:
    """Share of the requests, the first ones, that no metric counts."""
    if run.warmup_s is None:
        return 0.1
    early = int((workload.requests.arrival_s < run.warmup_s).sum())
    if early >= len(workload.requests):
        what = f"no request arrives after the warm-up of {run.warmup_s:g} s"
        raise ProblemError(Fault(what, "run-warmup", "shorten warmup or lengthen the run", key="warmup"))
    return (early + 0.5) / len(workload.requests)


def _nonempty(workload: Workload | None) -> Workload:
    if workload is None:
        what, remedy = "no request arrives within the duration", "lengthen duration or raise the rate"
        raise ProblemError(Fault(what, "run-empty", remedy, key="duration"))
    return workload


def deployment_document(run: RunSpec) -> dict[str, Any]:
    """The pools of the run in the short form of deployments."""
    pools = run.pools
    return pools["serve"] if "serve" in pools else dict(pools)


def _model(run: RunSpec) -> dict[str, Any]:
    source = "config" if run.model.endswith(".json") else "name"
    return {source: run.model, "weights": run.weights or "native", "kv_cache": run.kv_cache}


def _hardware(run: RunSpec) -> dict[str, Any]:
    """As many accelerators of each type as the pools need, at no price: a run says nothing of money."""
    counts: dict[str, int] = {}
    for pool in run.pools.values():
        gpus = pool.get("tp", 1) * pool.get("pp", 1) * pool.get("instances", 1)
        counts[pool["accelerator"]] = counts.get(pool["accelerator"], 0) + gpus
    offers = [{"name": name, "count": count, "price": "0 USD/h"} for name, count in counts.items()]
    link = run.transfer
    if link is None:
        return {"accelerators": offers}
    numbers = {
        "bandwidth": format_quantity(link.bandwidth_bytes_per_s, "bandwidth"),
        "latency": format_quantity(link.latency_s, "time"),
    }
    return {"accelerators": offers, "kv_link": numbers}


def _traffic(run: RunSpec) -> dict[str, Any]:
    if run.rate_per_s is not None:
        arrivals: dict[str, Any] = {"process": "poisson", "rate": f"{run.rate_per_s!r} req/s"}
    else:
        arrivals = {"process": "closed_loop", "concurrency": run.concurrency}
    lengths = {"input_tokens": _length(run.input_tokens), "output_tokens": _length(run.output_tokens)}
    return {"arrivals": arrivals, **lengths}


def _length(length: Any) -> Any:
    return {"distribution": "constant", "value": length} if isinstance(length, int) else length.model_dump()
