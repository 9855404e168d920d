"""A plan as pandas frames: one row a group of servers (and time slot), in the SI units of the result."""

from __future__ import annotations

import pandas as pd

from llmopt_optimizer.fleet.plan import PlanResult, PlanRow
from llmopt_optimizer.output.frames import Cell, pool_decisions


def groups(result: PlanResult) -> pd.DataFrame:
    """The content of `plan.csv`, a row for the equal groups of each slot.

    Columns: `slot`, `region`, `tariff`, `group`, `groups`, `gpus`, `usd_per_hour`, the decisions (`mode`,
    and for each pool `serve_tp`, `decode_instances`, …), `carried_C_per_s` and `served_C_per_s` of one
    group for every class C, `simulated_M`, `simulated_M_low` and `simulated_M_high` of every metric M of one
    group, and `verified`.
    """
    rows = [_row(row) for row in result.rows]
    fixed = ("slot", "region", "tariff", "group", "groups", "gpus", "usd_per_hour", "mode")
    columns = dict.fromkeys((*fixed, *(key for row in rows for key in row)))
    return pd.DataFrame(rows, columns=[*(c for c in columns if c != "verified"), "verified"])


def _row(row: PlanRow) -> dict[str, Cell]:
    cells: dict[str, Cell] = {
        "slot": row.slot,
        "region": row.region,
        "tariff": row.tariff,
        "group": row.group,
        "groups": row.groups,
        "gpus": row.gpus,
        "usd_per_hour": row.usd_per_hour,
        "mode": row.deployment.mode,
    }
    for pool in row.deployment.pools:
        cells |= {f"{pool.role}_{name}": value for name, value in pool_decisions(pool).items()}
    for name, rate in row.served_per_s.items():
        cells |= {f"carried_{name}_per_s": row.carried_per_s[name], f"served_{name}_per_s": rate}
    for metric, estimate in row.simulated.items():
        cells |= {
            f"simulated_{metric}": estimate.value,
            f"simulated_{metric}_low": estimate.low,
            f"simulated_{metric}_high": estimate.high,
        }
    return cells | {"verified": row.verified}
