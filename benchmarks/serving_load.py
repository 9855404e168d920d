"""How much the mock server carries, and how late it is: streams over real sockets beside the simulation.

    python benchmarks/serving_load.py --streams 50 1000

starts `llmopt serve` as a process of its own, lets so many clients stream at once, and prints tokens a second
of wall clock and of the server's processor time, and mean TTFT and TPOT as clients saw them beside those of
the simulation that the server ran (from its `/metrics`).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SERVER = ("quickstart", "--deployment", "tp=4,instances=4,batch_cap=256", "--port", "0")
TOKEN = b'"text":" token"'


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client saw, in seconds of its clock."""

    sent_s: float
    first_s: float
    last_s: float
    tokens: int


async def stream(port: int, tokens: int, prompt: int, delay_s: float) -> Seen:
    """Ask for one answer and time its tokens."""
    await asyncio.sleep(delay_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"prompt": [1] * prompt, "max_tokens": tokens, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    sent_s = time.perf_counter()
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
    first_s, last_s, count = 0.0, 0.0, 0
    while part := await reader.read(2**16):
        new = part.count(TOKEN)
        last_s = time.perf_counter() if new else last_s
        first_s = first_s or last_s
        count += new
    writer.close()
    return Seen(sent_s, first_s, last_s, count)


async def load(port: int, streams: int, tokens: int, prompt: int, over_s: float) -> list[Seen]:
    """Streams that start evenly within `over_s`."""
    delays = [over_s * i / streams for i in range(streams)]
    return await asyncio.gather(*(stream(port, tokens, prompt, delay_s) for delay_s in delays))


def metrics(port: int) -> Mapping[str, float]:
    """Sums and counts of the server's metrics by name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.findall(r"^vllm:(\w+?(?:_sum|_count|_total))\{.*\} (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: subprocess.Popen[str], port: int, asked: argparse.Namespace, streams: int) -> str:
    """One row of the table."""
    before, used_s, start_s = metrics(port), cpu_s(server.pid), time.perf_counter()
    seen = asyncio.run(load(port, streams, asked.tokens, asked.prompt, asked.over))
    elapsed_s, used_s = time.perf_counter() - start_s, cpu_s(server.pid) - used_s
    after = metrics(port)
    change = {name: after[name] - before.get(name, 0.0) for name in after}
    tokens = sum(each.tokens for each in seen)
    complete = sum(each.tokens == asked.tokens for each in seen)
    ttft = sum(each.first_s - each.sent_s for each in seen) / streams
    tpot = sum((each.last_s - each.first_s) / (each.tokens - 1) for each in seen) / streams
    first, whole = change["time_to_first_token_seconds_sum"], change["e2e_request_latency_seconds_sum"]
    simulated_ttft, simulated_tpot = first / streams, (whole - first) / (tokens - streams)
    return (
        f"{streams} streams, {complete} complete: {tokens / elapsed_s:,.0f} tokens/s, "
        f"{tokens / used_s:,.0f} tokens per processor second of the server; "
        f"TTFT {1e3 * ttft:.1f} ms (simulated {1e3 * simulated_ttft:.1f}, {ttft / simulated_ttft - 1:+.1%}), "
        f"TPOT {1e3 * tpot:.2f} ms (simulated {1e3 * simulated_tpot:.2f}, {tpot / simulated_tpot - 1:+.1%})"
    )


def main() -> None:
    """Start the server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[50, 1000])
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--prompt", type=int, default=1000)
    parser.add_argument("--over", type=float, default=1.0, help="seconds within which all streams start")
    parser.add_argument("--server", nargs="+", default=SERVER, help="arguments of llmopt serve")
    asked = parser.parse_args()
    command = [sys.executable, "-m", "llmopt", "serve", *asked.server]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            port = int(server.stderr.readline().partition("http://127.0.0.1:")[2].split()[0])
            asyncio.run(load(port, 2, 5, 10, 0.0))  # warm
            for streams in asked.streams:
                print(measure(server, port, asked, streams), flush=True)
        finally:
            server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
