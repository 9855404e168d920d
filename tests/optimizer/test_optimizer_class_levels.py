"""Service levels of one class of requests: predicted as all requests, judged by what its own had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizer_loop_cases import problem_of

from llmopt_optimizer.formulation.build import build_program
from llmopt_optimizer.frozen import starting_frozen
from llmopt_optimizer.loop import solve_problem
from llmopt_optimizer.loop.replicating import latency_levels
from llmopt_optimizer.output.formatting import level_text
from llmopt_optimizer.result import Result, Status
from llmopt_optimizer.scenario import resolve
from llmopt_optimizer.symbols import class_spread_symbol, spread_symbol
from llmopt_problems import Problem

LENGTH = {"output_tokens": {"distribution": "constant", "value": 50}}
CLASSES = [
    {"name": "batch", "share": 0.4, "input_tokens": {"distribution": "constant", "value": 4000}, **LENGTH},
    {"name": "chat", "share": 0.6, "input_tokens": {"distribution": "constant", "value": 300}, **LENGTH},
]


def level(name: str, at_most: str) -> dict[str, Any]:
    return {"class": name, "metric": "ttft", "statistic": "p95", "at_most": at_most}


def posed(*levels: Mapping[str, Any], **scheduling: Any) -> Problem:
    """Short chats and long batch prompts on one instance."""
    return problem_of(
        {
            "traffic": {
                "arrivals": {"process": "poisson", "rate": "6 req/s"},
                "input_tokens": None,
                "output_tokens": None,
                "classes": CLASSES,
            },
            "slo": list(levels),
            "search": {"instances": {"choices": [1]}, "scheduling": scheduling},
            "objectives": [{"minimize": "cost_per_hour"}],
        }
    )


def observed(result: Result) -> list[tuple[float, float, float]]:
    """p95 TTFT of chat, of batch, and of all requests, of every verified point."""
    keys = ("chat:ttft_p95_s", "batch:ttft_p95_s", "ttft_p95_s")
    return [tuple(point.simulated[key].value for key in keys) for point in result.front]  # type: ignore[misc]


def test_each_class_is_judged_by_its_own_requests() -> None:
    result = solve_problem(posed(level("chat", "2 s"), level("batch", "4 s")))
    assert result.status is Status.PROVEN
    assert result.front
    for chat_s, batch_s, whole_s in observed(result):
        assert chat_s < batch_s
        assert chat_s <= whole_s <= batch_s + 1e-9
        assert (chat_s <= 2.0, batch_s <= 4.0) == (True, True)


def test_a_level_that_only_one_class_breaks_refuses_the_deployment() -> None:
    """No prompt of 4,000 tokens is prefilled in 20 ms; a chat alone would keep a second."""
    result = solve_problem(posed(level("chat", "1 s"), level("batch", "20 ms")))
    assert result.status is Status.INFEASIBLE
    assert not result.front


def test_priorities_serve_a_class_before_another() -> None:
    """Same deployments, same requests: chats wait less when they go first, batch prompts longer."""
    levels = level("chat", "30 s"), level("batch", "30 s")
    plain = observed(solve_problem(posed(*levels)))
    first = observed(solve_problem(posed(*levels, order="priority", priorities=["chat", "batch"])))
    assert plain
    assert first
    assert first[0][0] < plain[0][0]


def test_a_class_has_the_formula_of_all_requests_with_a_spread_of_its_own() -> None:
    problem = posed(level("chat", "1 s"))
    scenario = resolve(problem)
    program = build_program(scenario, starting_frozen(scenario))
    shared, own = (
        spread_symbol("aggregated", "ttft", "p95"),
        class_spread_symbol("aggregated", "chat:ttft_p95_s"),
    )
    metrics = program.systems[0].metrics
    assert metrics["chat:ttft_p95_s"] == metrics["ttft_p95_s"].xreplace({shared: own})
    assert program.parameters[own] == 1.0
    assert [limit.metric for limit in program.limits] == ["chat:ttft_p95_s"]


def test_levels_reach_the_simulator_by_number_and_print_by_name() -> None:
    problem = posed(level("chat", "1 s"))
    (found,) = latency_levels(problem)
    assert (found.request_class, found.key) == (1, "class1_ttft_p95_s")
    assert level_text(problem.slo[0]).startswith("p95 TTFT of chat ≤ 1")
