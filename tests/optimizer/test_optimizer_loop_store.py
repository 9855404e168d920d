"""The store of simulations: what decides a run decides its key, and damaged files are as good as none."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest

from llmopt_optimizer.loop.store import Store, replication_key, workload_hash
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import Observed, ServiceLevel

OBSERVED: Observed = ({"ttft_p95_s": 0.1 + 0.2, "itl_mean_s": inf}, {"hit_rate": nan})
POOL = PoolDeployment("serve", "H100-SXM", Layout(tp=2), instances=1, chunk_tokens=512, batch_cap=16)
DEPLOYMENT = Deployment("aggregated", (POOL,))
LEVEL = ServiceLevel("ttft", "p95", 1.0)


def key(
    service: str = "s",
    workload: str = "w",
    deployment: Deployment = DEPLOYMENT,
    levels: tuple[ServiceLevel, ...] = (LEVEL,),
    seed: int = 1,
) -> str:
    return replication_key(service, workload, deployment, levels, seed)


def test_whatever_decides_a_run_decides_its_key() -> None:
    others = [
        key(service="t"),
        key(workload="x"),
        key(deployment=replace(DEPLOYMENT, prefix_cache=False)),
        key(deployment=replace(DEPLOYMENT, pools=(replace(POOL, batch_cap=17),))),
        key(levels=()),
        key(levels=(replace(LEVEL, at_most_s=2.0),)),
        key(seed=2),
        key(service="sw", workload=""),
    ]
    assert key() == key()
    assert len({key(), *others}) == len(others) + 1


def workload(arrival_s: float = 0.5, concurrency: int | None = None) -> Workload:
    counts = np.array([10, 20], dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    offsets = np.zeros(3, dtype=np.int64)
    arrivals = np.array([0.0, arrival_s])
    return Workload(Requests(arrivals, counts, counts, offsets, none, 16), concurrency)


def test_every_number_of_a_workload_counts() -> None:
    hashes = {workload_hash(w) for w in (workload(), workload(0.5 + 1e-16), workload(0.75), workload(0.5, 2))}
    assert len(hashes) == 4
    assert workload_hash(workload()) == workload_hash(workload())


def equal(first: Observed | None, second: Observed) -> bool:
    return first is not None and repr(first) == repr(second)


def test_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    Store((tmp_path,)).put("ab12", OBSERVED)
    found = Store((tmp_path,)).get("ab12")
    assert equal(found, OBSERVED)
    assert found is not None
    assert isnan(found[1]["hit_rate"])
    assert Store((tmp_path,)).get("ab13") is None
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["", "{}", "not json", "cut", "flipped", "binary"])
def test_damaged_files_are_noticed_and_replaced(tmp_path: Path, damage: str) -> None:
    Store((tmp_path,)).put("ab12", OBSERVED)
    (path,) = tmp_path.rglob("*.json")
    text = path.read_text()
    damaged = {"cut": text[:-3], "flipped": text.replace("0.3", "0.4"), "binary": "\udcff"}.get(
        damage, damage
    )
    path.write_bytes(damaged.encode("utf-8", "surrogateescape"))
    store = Store((tmp_path,))
    assert store.get("ab12") is None
    store.put("ab12", OBSERVED)
    assert equal(Store((tmp_path,)).get("ab12"), OBSERVED)


def test_what_one_folder_holds_the_others_get(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    Store((second,)).put("ab12", OBSERVED)
    assert equal(Store((first, second)).get("ab12"), OBSERVED)
    assert equal(Store((first,)).get("ab12"), OBSERVED)


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_speed(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    store = Store((blocked,))
    store.put("ab12", OBSERVED)
    assert equal(store.get("ab12"), OBSERVED)
    assert Store((blocked,)).get("ab12") is None
