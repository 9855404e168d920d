"""The two serving modes as systems of a program: pools, what couples them, and every metric.

An aggregated system has one pool. A disaggregated one has two, which in an open loop are independent
columns coupled by sums and one maximum (the KV transfer is as slow as its slower end); in a closed loop the
users couple them through their rate, and both pools are tabulated as one. Metrics read attributes only, so
both forms of the disaggregated system share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sympy import Add, Expr, Integer, Max

from llmopt_optimizer.core.program import Constraint, Decision, Pool, System, Variant
from llmopt_optimizer.formulation.disaggregated import (
    Transfer,
    closed_loop_place_waits,
    closed_loop_state,
    decode_attributes,
    decode_batch_symbol,
    decode_formulas,
    decode_places,
    prefill_formulas,
)
from llmopt_optimizer.formulation.pool import PoolFormulas, PoolInputs, Surroundings, fitting
from llmopt_optimizer.formulation.serve import serve_formulas
from llmopt_optimizer.metrics.pools import decoding
from llmopt_optimizer.metrics.service import ServiceParts, service_metrics
from llmopt_optimizer.symbols import attribute_symbol
from llmopt_problems.deployment import Mode, Role
from llmopt_problems.metrics_catalog import STATISTICS


@dataclass(frozen=True, slots=True)
class Offer:
    """One role on one accelerator type: its formulas' inputs, its domains, its rules, and how many there
    are.
    """

    inputs: PoolInputs
    decisions: tuple[Decision, ...]
    rules: tuple[Constraint, ...]
    available: int


TransferOf = Callable[[PoolInputs, PoolInputs], Transfer]
"""Transfer from a prefill to a decode pool; each end's seconds may read only its own pool's symbols."""


def aggregated_system(offers: Sequence[Offer], around: Surroundings) -> System:
    """One pool of instances that prefill and decode."""
    variants = tuple(
        _variant({"serve": (offer, serve_formulas(offer.inputs, around))}, offers) for offer in offers
    )
    return System(
        name="aggregated",
        pools=(Pool("serve", variants),),
        metrics=service_metrics("aggregated", _serve_parts(around), around.frozen),
        constraints=_stock(offers, ("serve",)),
    )


def disaggregated_system(
    prefill: Sequence[Offer], decode: Sequence[Offer], around: Surroundings, transfer_of: TransferOf
) -> System:
    """A prefill pool and a decode pool joined by KV transfers."""
    pools = (
        (_coupled_pool(prefill, decode, around, transfer_of),)
        if around.closed_loop
        else _separate_pools(prefill, decode, around, transfer_of)
    )
    transfer = transfer_of(prefill[0].inputs, decode[0].inputs)
    return System(
        name="disaggregated",
        pools=pools,
        metrics=service_metrics("disaggregated", _split_parts(around, transfer), around.frozen),
        constraints=_stock(prefill, ("prefill", "decode")),
    )


def _separate_pools(
    prefill: Sequence[Offer], decode: Sequence[Offer], around: Surroundings, transfer_of: TransferOf
) -> tuple[Pool, ...]:
    rate = around.frozen.request_rate_per_s
    senders, receivers = [], []
    for sender, receiver in zip(prefill, decode, strict=True):
        transfer = transfer_of(sender.inputs, receiver.inputs)
        sending = prefill_formulas(sender.inputs, around, transfer, rate)
        receiving = decode_formulas(receiver.inputs, around, transfer, decode_batch_symbol(), rate)
        senders.append(_variant({"prefill": (sender, sending)}, prefill))
        receivers.append(_variant({"decode": (receiver, receiving)}, decode))
    return Pool("prefill", tuple(senders)), Pool("decode", tuple(receivers))


def _coupled_pool(
    prefill: Sequence[Offer], decode: Sequence[Offer], around: Surroundings, transfer_of: TransferOf
) -> Pool:
    variants = [
        _coupled_variant(sender, receiver, around, transfer_of(sender.inputs, receiver.inputs), prefill)
        for sender in prefill
        for receiver in decode
    ]
    return Pool("both", tuple(variants))


def _coupled_variant(
    sender: Offer, receiver: Offer, around: Surroundings, transfer: Transfer, offers: Sequence[Offer]
) -> Variant:
    """Both pools under one population: the rate is what the decode batch implies."""
    batch = decode_batch_symbol()
    frozen = around.frozen
    unloaded = decoding(receiver.inputs.law, receiver.inputs.symbols, frozen, Integer(0), batch)
    rate = batch * unloaded.ranks / (frozen.decode_tokens * unloaded.step_s)
    sending = prefill_formulas(sender.inputs, around, transfer, rate)
    places = decode_places(receiver.inputs, around, unloaded, rate)
    lead_s = sending.attributes["lead_s"]
    transfer_s = transfer.after_prefill_s(transfer.send_s, transfer.receive_s, lead_s)
    before_decode_s = sending.attributes["ttft_mean_s"] + transfer_s
    waits = closed_loop_place_waits(around, places, before_decode_s, rate)
    receiving = PoolFormulas(
        states=(closed_loop_state(around, unloaded, places, before_decode_s, batch),),
        attributes=decode_attributes(receiver.inputs, around, transfer, unloaded, places, rate, waits),
        constraints=(fitting(receiver.inputs),),
    )
    kept = replace(sending, constraints=(fitting(sender.inputs),))
    return _variant({"prefill": (sender, kept), "decode": (receiver, receiving)}, offers)


def _variant(parts: Mapping[Role, tuple[Offer, PoolFormulas]], offers: Sequence[Offer]) -> Variant:
    """The variant that holds the given roles; attributes are named by role, GPUs also by accelerator."""
    attributes: dict[str, Expr] = {}
    for role, (offer, formulas) in parts.items():
        named = dict(formulas.attributes)
        for other in offers:
            mine = other.inputs.accelerator.name == offer.inputs.accelerator.name
            named[_stock_name(other)] = named["gpus"] if mine else Integer(0)
        attributes |= {attribute_symbol(role, name): expression for name, expression in named.items()}
    pairs = parts.values()
    return Variant(
        name="+".join(offer.inputs.accelerator.name for offer, _ in pairs),
        decisions=tuple(decision for offer, _ in pairs for decision in offer.decisions),
        attributes=attributes,
        states=tuple(state for _, formulas in pairs for state in formulas.states),
        constraints=tuple(
            constraint for offer, formulas in pairs for constraint in (*offer.rules, *formulas.constraints)
        ),
    )


def _stock_name(offer: Offer) -> str:
    return f"gpus_of_{offer.inputs.accelerator.name}"


def _stock(offers: Sequence[Offer], roles: Sequence[Role]) -> tuple[Constraint, ...]:
    return tuple(
        Constraint(
            name=f"stock of {offer.inputs.accelerator.name}",
            expression=Add(*(attribute_symbol(role, _stock_name(offer)) for role in roles)) - offer.available,
            label=f"{offer.available} {offer.inputs.accelerator.name} available",
        )
        for offer in offers
    )


def _serve_parts(around: Surroundings) -> ServiceParts:
    def of(name: str) -> Expr:
        return attribute_symbol("serve", name)

    rate = of("request_rate_per_s") if around.closed_loop else around.frozen.request_rate_per_s
    return ServiceParts(
        request_rate_per_s=rate,
        ttft_s={statistic: of(f"ttft_{statistic}_s") for statistic in STATISTICS},
        queueing_s={statistic: of(f"queueing_{statistic}_s") for statistic in STATISTICS},
        itl_s={statistic: of(f"itl_{statistic}_s") for statistic in STATISTICS},
        step_s=of("step_s"),
        gpus=of("gpus"),
        usd_per_hour=of("usd_per_hour"),
        power_w=of("power_w"),
        peak_memory_bytes=of("peak_memory_bytes"),
        memory_fraction=of("memory_fraction"),
        compute_utilization=of("compute_gpus") / of("gpus"),
        bandwidth_utilization=of("bandwidth_gpus") / of("gpus"),
        network_utilization=of("network_gpus") / of("gpus"),
    )


def _split_parts(around: Surroundings, transfer: Transfer) -> ServiceParts:
    def both(name: str, join: Callable[..., Expr]) -> Expr:
        return join(attribute_symbol("prefill", name), attribute_symbol("decode", name))

    def of_prefill(name: str) -> Expr:
        return attribute_symbol("prefill", name)

    def of_decode(name: str) -> Expr:
        return attribute_symbol("decode", name)

    transfer_s = transfer.after_prefill_s(of_prefill("send_s"), of_decode("receive_s"), of_prefill("lead_s"))
    rate = of_decode("request_rate_per_s") if around.closed_loop else around.frozen.request_rate_per_s
    gpus = both("gpus", Add)
    return ServiceParts(
        request_rate_per_s=rate,
        ttft_s={
            statistic: of_prefill(f"ttft_{statistic}_s") + transfer_s + of_decode(f"place_wait_{statistic}_s")
            for statistic in STATISTICS
        },
        queueing_s={statistic: of_prefill(f"queueing_{statistic}_s") for statistic in STATISTICS},
        itl_s={statistic: of_decode("step_s") for statistic in STATISTICS},
        step_s=of_decode("step_s"),
        gpus=gpus,
        usd_per_hour=both("usd_per_hour", Add),
        power_w=both("power_w", Add),
        peak_memory_bytes=both("peak_memory_bytes", Max),
        memory_fraction=both("memory_fraction", Max),
        compute_utilization=both("compute_gpus", Add) / gpus,
        bandwidth_utilization=both("bandwidth_gpus", Add) / gpus,
        network_utilization=both("network_gpus", Add) / gpus,
    )


def modes() -> tuple[Mode, ...]:
    """The serving modes that have a system."""
    return ("aggregated", "disaggregated")
