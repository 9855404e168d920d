"""Laws, deployments and workloads that the simulator's tests share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp

from llmopt_calibration.compiled import CompiledStep, compile_step
from llmopt_calibration.step.law import Operator, StepLaw
from llmopt_calibration.step.symbols import StepSymbols
from llmopt_problems.deployment import PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.service import PoolService, step_bounds


class Builders:
    """Makers of small inputs."""

    @staticmethod
    def law(constant: float = 0.0, **seconds_per: float) -> StepLaw:
        """Constant + Σ coefficient × state, the state named n (b + p), N, h, K, p or A."""
        s = StepSymbols()
        sees = {"n": "rank_tokens", "N": "engine_tokens", "h": "heads", "K": "decode", "p": "prefill"}
        symbol = {"n": s.b + s.p, "N": s.N, "h": s.h, "K": s.K, "p": s.p, "A": s.A}
        zero = sp.S.Zero
        operators = [Operator("constant", "x", sp.Float(constant), zero, zero, zero, "step", "default")]
        for name, coefficient in seconds_per.items():
            work = sp.Float(coefficient) * symbol[name]
            operator = Operator(
                name, "x", work, 100 * work, 10 * work, work, sees.get(name, "prefill"), "default"
            )
            operators.append(operator)
        return StepLaw(tuple(operators), s)

    @staticmethod
    def compiled(pool: PoolDeployment, constant: float = 0.0, **seconds_per: float) -> CompiledStep:
        """That law with the tables that `pool` needs."""
        bounds = step_bounds(pool)
        law = Builders.law(constant, **seconds_per)
        return compile_step(law, bounds.rank_tokens, bounds.engine_tokens, bounds.batch)

    @staticmethod
    def service(
        pool: PoolDeployment,
        capacity: int = 1 << 24,
        page: int = 1,
        constant: float = 0.0,
        **seconds_per: float,
    ) -> PoolService:
        """A pool service with that law."""
        return PoolService(
            Builders.compiled(pool, constant, **seconds_per),
            capacity,
            page,
            flops_per_s=1e3,
            hbm_bytes_per_s=1e2,
            network_bytes_per_s=1e1,
        )

    @staticmethod
    def workload(
        arrival_s: object, inputs: object, outputs: object, concurrency: int | None = None
    ) -> Workload:
        """Requests without shared blocks."""
        arrival = np.asarray(arrival_s, np.float64)
        count = len(arrival)
        return Workload(
            Requests(
                arrival,
                np.broadcast_to(np.asarray(inputs, np.int64), (count,)).copy(),
                np.broadcast_to(np.asarray(outputs, np.int64), (count,)).copy(),
                np.zeros(count + 1, np.int64),
                np.zeros(0, np.int64),
                1,
            ),
            concurrency,
        )


@pytest.fixture(scope="session")
def make() -> type[Builders]:
    """The makers."""
    return Builders


@pytest.fixture(scope="session")
def load_helper() -> Callable[[str], object]:
    """Imports a helper module that lies beside the tests (they are no package)."""
    import importlib.util
    import sys
    from pathlib import Path

    def load(name: str) -> object:
        path = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(f"simulator_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load
