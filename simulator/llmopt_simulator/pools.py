"""What the pools of a run did: utilisation of accelerators and links, batches, KV use, stage loads."""

from __future__ import annotations

import numpy as np

from llmopt_problems.deployment import PoolDeployment
from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run
from llmopt_simulator.service import PoolService


def pool_metrics(run: Run) -> dict[str, float]:
    """Utilisation, batch and KV use of every pool (names end in its role) and utilisation of the whole."""
    values: dict[str, float] = {}
    gpus = np.array([pool.gpus for pool in run.deployment.pools], np.float64)
    shares: dict[str, list[float]] = {}
    for number, (pool, service) in enumerate(zip(run.deployment.pools, run.service.pools, strict=True)):
        used = _utilisation(run, number, service)
        values |= {f"{name}_{pool.role}": share for name, share in used.items()}
        values |= _occupancy(run, number, pool, service)
        for name, share in used.items():
            shares.setdefault(name, []).append(share)
    whole = {name: float(np.average(parts, weights=gpus)) for name, parts in shares.items()}
    return values | whole | _links(run)


def stage_loads(run: Run) -> dict[str, float]:
    """Share of time that engines step with prefill and with decodes: `prefill_load`, `decode_load`.

    Each is the mean over the engines of the pools that do that work; a mixed step counts in both.
    """
    engines, totals = run.state.engines, run.window.totals()
    decodes = ~run.state.ranks["sends"][engines["rank_start"]]
    return {
        "prefill_load": run.window.per_second(totals[engines["prefills"], k.PREFILL_S].mean()),
        "decode_load": run.window.per_second(totals[decodes, k.DECODE_S].mean()),
    }


def _utilisation(run: Run, number: int, service: PoolService) -> dict[str, float]:
    """Shares of an accelerator's peaks, averaged over the pool, and of time that engines were stepping.

    The step law counts one accelerator of each of `pp` stages, and an instance has `pp` engines: the sum
    over engines divided by their number is what one accelerator did.
    """
    window = run.window
    totals = window.totals()[run.state.engines["pool"] == number].mean(axis=0)
    return {
        "busy_share": window.per_second(totals[k.BUSY_S]),
        "compute_utilisation": window.per_second(totals[k.FLOPS]) / service.flops_per_s,
        "bandwidth_utilisation": window.per_second(totals[k.HBM_BYTES]) / service.hbm_bytes_per_s,
        "network_utilisation": window.per_second(totals[k.NETWORK_BYTES]) / service.network_bytes_per_s,
    }


def _occupancy(run: Run, number: int, pool: PoolDeployment, service: PoolService) -> dict[str, float]:
    ranks = run.state.ranks[run.state.engines["pool"][run.state.ranks["engine"]] == number]
    totals = run.window.totals()[run.state.engines["pool"] == number].sum(axis=0)
    batch = totals[k.BATCH_S] / totals[k.BUSY_S] / pool.layout.dp if totals[k.BUSY_S] > 0.0 else 0.0
    return {
        f"mean_batch_{pool.role}": float(batch),
        f"peak_batch_{pool.role}": float(ranks["peak_batch"].max()),
        f"peak_kv_tokens_{pool.role}": float(ranks["peak_pages"].max() * service.page_tokens),
        f"peak_host_tokens_{pool.role}": float(ranks["host_peak_pages"].max() * service.page_tokens),
    }


def _links(run: Run) -> dict[str, float]:
    """Share of the bandwidth between nodes that KV transfers used at the prefill and at the decode instances.

    `kv_near_share` of the bytes stayed inside a node. They count when their transfer enters the links.
    """
    transfer = run.service.transfer
    if transfer is None or run.deployment.mode == "aggregated":
        return {}
    pools = run.deployment.pools
    senders = sum(pool.instances for pool in pools if pool.role != "decode")
    receivers = sum(pool.instances for pool in pools if pool.role != "prefill")
    moved = run.window.closes.moved_bytes - run.window.opens.moved_bytes
    near = run.window.closes.near_bytes - run.window.opens.near_bytes
    rate = run.window.per_second(moved - near)
    return {
        "kv_near_share": near / moved if moved > 0.0 else 0.0,
        "kv_link_utilisation_prefill": rate / (senders * transfer.sender_bytes_per_s),
        "kv_link_utilisation_decode": rate / (receivers * transfer.receiver_bytes_per_s),
    }
