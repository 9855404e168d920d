"""Confidence in the laws: steps are lengthened by the errors on pairs never fitted."""

from __future__ import annotations

import pytest
import sympy as sp

from llmopt_calibration.engine import engine_layer
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import step_law
from llmopt_optimizer.scenario import Scenario, resolve
from llmopt_problems import ProblemError, load
from llmopt_problems.deployment import Layout


def scenario(*overrides: str) -> Scenario:
    return resolve(load("quickstart", overrides))


def seconds(of: Scenario) -> float:
    """A decode step of eight sequences."""
    site = of.sites[0]
    law = step_law(of.model, site.accelerator, Precision("bf16", "bf16"), Layout(tp=1), site.coefficients)
    s = law.symbols
    return float(sp.sympify(law.seconds()).subs({s.b: 8, s.K: 8000, s.p: 0, s.A: 0, s.N: 8, s.h: 8}))


def test_steps_are_as_long_as_the_asked_share_of_measured_ones_was() -> None:
    plain, careful = scenario(), scenario("verification.law_confidence=0.9")
    margin = engine_layer(careful.problem.engine).tpot_errors.quantile(0.9)
    assert margin > 1
    assert seconds(careful) == pytest.approx(margin * seconds(plain))


def test_more_confidence_never_shortens_a_step() -> None:
    asked = [f"verification.law_confidence={share}" for share in (0.55, 0.7, 0.95)]
    margins = [scenario(one).sites[0].coefficients.margin for one in asked]
    assert margins == sorted(margins)
    assert margins[0] >= 1


@pytest.mark.parametrize("share", ["0.5", "0.99", "yes"])
def test_confidence_that_nothing_backs_is_refused(share: str) -> None:
    with pytest.raises(ProblemError, match="law_confidence"):
        load("quickstart", (f"verification.law_confidence={share}",))
