"""BLIS workload specs, versions 1 and 2 (inference-sim/inference-sim, `sim/workload/spec.go`).

Clients become classes of requests. What a problem has no word for (cohorts, activity windows, images) is
refused rather than dropped, because the load would be another one.
"""

from __future__ import annotations

from typing import Any

from .draft import Assumed, Draft, Leaf, Said, Tree
from .parts import (
    ACCELERATOR,
    MODEL,
    OBJECTIVES,
    constant,
    hardware,
    known_model,
    mapping,
    normal,
    number,
    quantity,
    refused,
)

PROCESSES = {"poisson": "poisson", "gamma": "gamma", "weibull": "weibull", "constant": "deterministic"}
PREFIX_TOKENS = 50
"""BLIS's default length of a shared prefix."""
UNKNOWN = ("cohorts", "servegen_data", "inference_perf")
UNKNOWN_OF_CLIENTS = ("lifecycle", "multimodal")


def read(document: dict[str, Any], source: str, part: str | None) -> Draft:
    """The whole workload; `part` is not used, a spec is one workload."""
    clients = document.get("clients")
    if not isinstance(clients, list) or not clients:
        raise refused(source, "there are no clients", "expand cohorts or generated data into clients first")
    for key in UNKNOWN:
        if document.get(key):
            raise refused(source, f"{key} has no counterpart", "write its members as clients", key)
    left = [
        f"{key} of clients" for key in ("network", "timeout", "slo_class") if any(key in c for c in clients)
    ]
    models = {client.get("model") for client in clients if client.get("model")}
    sections: dict[str, Tree] = {
        "kind": Said("deployment"),
        "name": Said(str(document.get("category") or "workload")),
        "model": {"name": known_model(models.pop()) if len(models) == 1 else MODEL},
        "hardware": hardware(ACCELERATOR),
        "traffic": _traffic(document, clients, source),
        "objectives": OBJECTIVES,
        "verification": _verification(document, source),
    }
    return Draft(sections, tuple(left))


def _verification(document: dict[str, Any], source: str) -> dict[str, Tree]:
    requests = int(number(source, document, "num_requests", 0))
    count: Leaf = Said(requests, "num_requests") if requests else Assumed(2000, "requests of a replication")
    return {"requests": count, "seed": Said(int(number(source, document, "seed", 1)))}


def _traffic(document: dict[str, Any], clients: list[dict[str, Any]], source: str) -> dict[str, Tree]:
    users = [int(number(source, client, "concurrency", 0)) for client in clients]
    if all(users):
        arrivals, shares = _closed(clients, users, source), [each / sum(users) for each in users]
    elif any(users):
        raise refused(source, "some clients have a rate and some a concurrency", "split them into two specs")
    else:
        arrivals, shares = _open(document, clients, source)
    if len(clients) == 1:
        return {"arrivals": arrivals, **_client(clients[0], source)}
    classes: list[Tree] = [
        {
            "name": Said(str(client.get("id") or f"client {i}")),
            "share": Said(round(share, 12)),
            **_client(client, source),
        }
        for i, (client, share) in enumerate(zip(clients, shares, strict=True))
    ]
    return {"arrivals": arrivals, "classes": classes}


def _closed(clients: list[dict[str, Any]], users: list[int], source: str) -> dict[str, Tree]:
    thinks = {number(source, client, "think_time_us", 0) for client in clients}
    pause = Said(quantity(thinks.pop() / 1e6, "s")) if len(thinks) == 1 else None
    if pause is None:
        raise refused(source, "clients think for different times", "give all the same think_time_us")
    return {
        "process": Said("closed_loop"),
        "concurrency": Said(sum(users)),
        "think_time": pause,
        "think_time_cv": Said(0.0),
    }


def _open(
    document: dict[str, Any], clients: list[dict[str, Any]], source: str
) -> tuple[dict[str, Tree], list[float]]:
    """Arrivals of requests, and each client's share of them; BLIS counts the starts of conversations."""
    fractions = [number(source, client, "rate_fraction") for client in clients]
    turns = [_rounds(client, source) for client in clients]
    weights = [f * n for f, n in zip(fractions, turns, strict=True)]
    rate = number(source, document, "aggregate_rate") * sum(weights) / sum(fractions)
    kinds = {
        (client.get("arrival", {}).get("process"), client.get("arrival", {}).get("cv")) for client in clients
    }
    process, cv = next(iter(kinds)) if len(kinds) == 1 else ("poisson", None)
    if process not in PROCESSES:
        raise refused(source, f"arrival process {process!r} is unknown", f"use {', '.join(PROCESSES)}")
    ours: Leaf = Said(PROCESSES[process]) if len(kinds) == 1 else Assumed("poisson", "clients differ")
    arrivals: dict[str, Tree] = {"process": ours, "rate": Said(quantity(rate, "req/s"))}
    if process in ("gamma", "weibull"):
        arrivals["cv"] = Said(cv) if cv is not None else Assumed(1.0, "the file has no cv")
    return arrivals, [weight / sum(weights) for weight in weights]


def _rounds(client: dict[str, Any], source: str) -> int:
    turns = (client.get("reasoning") or {}).get("multi_turn")
    return int(number(source, turns, "max_rounds")) if turns else 1


def _client(client: dict[str, Any], source: str) -> dict[str, Tree]:
    for key in UNKNOWN_OF_CLIENTS:
        if client.get(key):
            raise refused(source, f"{key} of a client has no counterpart", "remove it", key)
    shared = bool(client.get("prefix_group"))
    prefix = int(number(source, client, "prefix_length", PREFIX_TOKENS)) if shared else 0
    found: dict[str, Tree] = {
        "input_tokens": _length(client, "input_distribution", source, prefix),
        "output_tokens": _length(client, "output_distribution", source, 0),
    }
    if prefix:
        found["shared_prefix"] = {"tokens": Said(prefix), "groups": Said(1)}
    return found | _conversation(client, source)


def _conversation(client: dict[str, Any], source: str) -> dict[str, Tree]:
    reasoning = mapping(source, client.get("reasoning"), "reasoning")
    ratio = mapping(source, reasoning.get("reason_ratio_distribution"), "reason_ratio_distribution")
    if any(value for value in (ratio.get("params") or {}).values()):
        raise refused(source, "reasoning tokens have no counterpart", "add them to output_distribution")
    turns = reasoning.get("multi_turn")
    if not turns:
        return {}
    if turns.get("context_growth") != "accumulate":
        raise refused(source, "turns without growing context are single requests", "remove multi_turn")
    think = number(source, turns, "think_time_us", 0) / 1e6
    return {
        "conversation": {
            "turns": constant(_rounds(client, source)),
            "think_time": Said(quantity(think, "s")),
            "think_time_cv": Said(0.0),
        }
    }


def _length(client: dict[str, Any], key: str, source: str, prefix: int) -> Tree:
    """A length distribution; BLIS puts the shared prefix in front of it, so it is added here."""
    spec = mapping(source, client.get(key), key)
    values = mapping(source, spec.get("params"), f"{key}.params")
    match spec.get("type"):
        case "constant":
            return constant(int(number(source, values, "value")) + prefix)
        case "gaussian":
            mean, deviation = number(source, values, "mean"), number(source, values, "std_dev")
            least, most = (int(number(source, values, name)) for name in ("min", "max"))
            return normal(mean + prefix, deviation, max(1, least + prefix), most + prefix)
        case "exponential" if not prefix:
            return Said({"distribution": "exponential", "mean": number(source, values, "mean")})
    what = f"{key} of type {spec.get('type')!r}" + (" behind a shared prefix" if prefix else "")
    raise refused(source, f"{what} has no counterpart", "use constant or gaussian lengths", key)
