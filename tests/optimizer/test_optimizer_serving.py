"""The mock server over real sockets: OpenAI's forms, the simulator's counts, limits, vLLM's metrics."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")

from llmopt_optimizer.cli.app import app as commands  # noqa: E402 - after the packages that it needs
from llmopt_optimizer.cli.deployment_text import parse_deployment  # noqa: E402
from llmopt_optimizer.loop.service import service_model, workbench  # noqa: E402
from llmopt_optimizer.scenario import resolve  # noqa: E402
from llmopt_optimizer.serving.app import Limits, application  # noqa: E402
from llmopt_optimizer.serving.clock import Pump  # noqa: E402
from llmopt_optimizer.serving.server import Address, BindError, bound  # noqa: E402
from llmopt_problems.runs import load_run, problem_of  # noqa: E402
from llmopt_simulator.live import LiveRun, live_run  # noqa: E402

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
RUN = (
    *("model=Llama-3.1-8B", "accelerator=H100-SXM", "rate=1 req/s", "requests=1"),
    *("input_tokens=100", "output_tokens=10"),
)
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def make() -> Any:
    problem = problem_of(load_run(None, RUN))
    deployment = parse_deployment("tp=1,batch_cap=64", problem)
    service = service_model(workbench(resolve(problem)), deployment)

    def made(requests: int = 2000) -> LiveRun:
        return live_run(deployment, service, requests)

    return made


@contextmanager
def served(pump: Pump, limits: Limits | None = None) -> Iterator[int]:
    """The port of a server that runs in a thread of its own."""
    listener = bound(Address(port=0))
    app = application(pump, limits or Limits(), MODEL, 4.0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def ask(port: int, path: str, body: object = None, token: str | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("GET" if body is None else "POST", path, None if body is None else text, headers)
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return found


def events(body: bytes) -> list[Any]:
    lines = [part.removeprefix("data: ") for part in body.decode().split("\n\n") if part]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_completions_have_the_forms_of_openai(make: Any) -> None:
    with served(Pump(make, speed=20.0)) as port:
        status, _, body = ask(port, "/v1/completions", {"prompt": [1] * 50, "max_tokens": 7})
        whole = json.loads(body)
        assert (status, whole["object"], whole["model"]) == (200, "text_completion", MODEL)
        assert whole["usage"] == {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}
        assert whole["choices"][0]["text"].split() == ["token"] * 7
        chat = {"messages": [{"role": "user", "content": "x" * 41}], "max_completion_tokens": 5}
        whole = json.loads(ask(port, "/v1/chat/completions", chat)[2])
        assert (whole["object"], whole["usage"]["prompt_tokens"]) == ("chat.completion", 11)
        assert whole["choices"][0]["message"]["role"] == "assistant"
        parts = [{"type": "text", "text": "x" * 8}]
        chat = {"messages": [{"role": "user", "content": parts}], "stream": True, "max_tokens": 3}
        found = events(
            ask(port, "/v1/chat/completions", chat | {"stream_options": {"include_usage": True}})[2]
        )
        assert [each["choices"][0]["delta"]["content"] for each in found[:-1]] == [" token"] * 3 + [""]
        assert found[-2]["choices"][0]["finish_reason"] == "length"
        assert found[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_many_streams_get_every_token(make: Any) -> None:
    """200 clients at once on real sockets; each gets its own number of tokens, in order and ended once."""

    async def one(port: int, tokens: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"prompt": [1] * 20, "max_tokens": tokens, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        answer = await reader.read()
        writer.close()
        assert answer.count(b"[DONE]") == 1
        return answer.count(b'"text":" token"')

    async def all_of_them(port: int) -> list[int]:
        return await asyncio.gather(*(one(port, 1 + i % 30) for i in range(200)))

    pump = Pump(make, speed=20.0)
    with served(pump) as port:
        assert asyncio.run(all_of_them(port)) == [1 + i % 30 for i in range(200)]
    assert pump.tokens == sum(1 + i % 30 for i in range(200))


def test_the_pump_tells_what_the_simulator_says(make: Any) -> None:
    """On a clock of its own the first token and the last come at the simulated times, to a tick."""
    now = [0.0]
    pump = Pump(make, clock=lambda: now[0])
    answers = [pump.submit(500, 20), pump.submit(1000, 40)]
    told: list[list[float]] = [[], []]
    while not all(answer is not None and answer.ended for answer in answers):
        now[0] += 1e-3
        pump.look()
        for times, answer in zip(told, answers, strict=True):
            assert answer is not None
            times.extend([now[0]] * (answer.tokens - len(times)))
    records = pump.run.state.requests[:2]
    for times, record in zip(told, records, strict=True):
        assert 0 <= times[0] - record["first_token_s"] <= 1e-3 + 1e-9
        assert 0 <= times[-1] - record["finish_s"] <= 1e-3 + 1e-9


def test_a_full_run_starts_anew_when_idle(make: Any) -> None:
    now = [0.0]
    pump = Pump(lambda: make(2), clock=lambda: now[0])
    assert pump.submit(10, 2) is not None
    assert pump.submit(10, 2) is not None
    assert pump.submit(10, 2) is None  # full, and both are under way
    now[0] = 10.0
    assert pump.submit(10, 2) is not None
    assert (len(pump.finished_runs), pump.tokens) == (1, 4)


def test_metrics_add_up(make: Any) -> None:
    with served(Pump(make, speed=20.0)) as port:
        for tokens in (1, 5, 9):
            ask(port, "/v1/completions", {"prompt": [1] * 30, "max_tokens": tokens})
        status, headers, body = ask(port, "/metrics")
    text = body.decode()
    value = dict(re.findall(r"^(vllm:\w+)\{[^}]*\} (\S+)$", text, re.MULTILINE))
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert float(value["vllm:generation_tokens_total"]) == 15
    assert float(value["vllm:prompt_tokens_total"]) == 90
    assert float(value["vllm:request_success_total"]) == 3
    assert float(value["vllm:time_to_first_token_seconds_count"]) == 3
    assert float(value["vllm:inter_token_latency_seconds_count"]) == 12
    assert float(value["vllm:num_requests_running"]) == float(value["vllm:num_requests_waiting"]) == 0
    for name in ("time_to_first_token", "inter_token_latency", "e2e_request_latency"):
        found = re.findall(rf'vllm:{name}_seconds_bucket{{[^}}]*le="([^"]+)"}} (\d+)', text)
        counts = [int(count) for _, count in found]
        assert counts == sorted(counts)
        assert found[-1][0] == "+Inf"
        total = float(value[f"vllm:{name}_seconds_sum"])
        bounds = [float(bound) for bound, _ in found]
        inside = np.diff([0, *counts])
        assert sum(inside * [0.0, *bounds[:-1]]) <= total <= sum(inside[:-1] * bounds[:-1]) + 1e-9


@pytest.mark.parametrize(
    ("path", "body", "status", "expected"),
    [
        ("/v1/completions", b"{", 400, "JSON"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 0}, 400, "max_tokens"),
        ("/v1/completions", {"prompt": "x", "n": 2}, 400, "n: "),
        ("/v1/chat/completions", {"messages": []}, 400, "messages"),
        ("/v1/completions", {"prompt": "x" * 5000}, 413, "1000 bytes"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 1_000_000}, 400, "does not fit"),
        ("/v1/nothing", None, 404, ""),
        ("/v1/completions", None, 405, ""),
    ],
)
def test_bad_requests_are_told(make: Any, path: str, body: Any, status: int, expected: str) -> None:
    with served(Pump(make), Limits(body_bytes=1000)) as port:
        found = ask(port, path, body)
        assert found[0] == status
        assert expected in found[2].decode()
        assert ask(port, "/health")[0] == 200


def test_limits_and_tokens_hold(make: Any) -> None:
    small = {"prompt": "x", "max_tokens": 1}
    with served(Pump(make, speed=20.0), Limits(requests_per_s=1e-3, token="secret")) as port:
        assert ask(port, "/v1/models")[0] == ask(port, "/v1/models", token="wrong")[0] == 401
        assert ask(port, "/health")[0] == 200
        assert json.loads(ask(port, "/v1/models", token="secret")[2])["data"][0]["id"] == MODEL
        assert ask(port, "/v1/completions", small, "secret")[0] == 200
        status, headers, body = ask(port, "/v1/completions", small, "secret")
        assert (status, headers["retry-after"]) == (429, "1")
        assert b"requests a second" in body
    with served(Pump(make), Limits(streams=0)) as port:
        assert ask(port, "/v1/completions", small)[0] == 429


def test_an_address_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BindError, match="another --port"):
            bound(Address(port=taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("quickstart", "--deployment", "tp=4", "--host", "0.0.0.0"), "give --token"),
        (("quickstart",), "--deployment"),
        (("result.json", "--set", "x=1"), "--set changes a problem"),
        (("no_such.json",), "no_such.json"),
        (("quickstart", "--deployment", "tp=3"), "tp"),
    ],
)
def test_the_command_refuses_what_cannot_be_served(arguments: tuple[str, ...], expected: str) -> None:
    done = CliRunner().invoke(commands, ["serve", *arguments], catch_exceptions=False)
    assert done.exit_code == 2
    assert expected in done.stderr
