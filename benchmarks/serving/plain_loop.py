"""One instance in plain Python: first come, first served, chunked prefill beside the decodes, KV without end.

It never touches a sequence in a decode step (counts, a sum of contexts, a heap of completion steps), so it is
the fastest that an interpreter does, not a strawman. The step law is a Python function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from llmopt_problems.deployment import PoolDeployment
from llmopt_problems.traffic.requests import Workload

StepSeconds = Callable[[int, int, int, float, int, int], float]
"""b, K, p, A, N, h to seconds."""


def finish_times(workload: Workload, pool: PoolDeployment, step_s: StepSeconds) -> list[float]:
    """When every request ends, in seconds."""
    requests = workload.requests
    arrival_s, inputs, outputs = (
        column.tolist() for column in (requests.arrival_s, requests.input_tokens, requests.output_tokens)
    )
    finish_s = [0.0] * len(inputs)
    running: list[tuple[int, int]] = []  # (last decode step, request)
    prefilling: deque[list[int]] = deque()  # request, tokens done
    now_s, context, steps, sent, left = 0.0, 0, 0, 0, len(inputs)
    while left:
        if not running and not prefilling and arrival_s[sent] > now_s:
            now_s = arrival_s[sent]
        budget, work, chunks = pool.chunk_tokens - len(running), 0.0, 0
        for entry in prefilling:
            tokens = min(budget, inputs[entry[0]] - entry[1])
            work += tokens * entry[1] + tokens * (tokens + 1) / 2
            entry[1], budget, chunks = entry[1] + tokens, budget - tokens, chunks + (tokens > 0)
        while (
            budget > 0
            and sent < len(inputs)
            and arrival_s[sent] <= now_s
            and len(running) + chunks < pool.batch_cap
        ):
            tokens = min(budget, inputs[sent])
            work += tokens * (tokens + 1) / 2
            prefilling.append([sent, tokens])
            budget, chunks, sent = budget - tokens, chunks + 1, sent + 1
        prefill = pool.chunk_tokens - len(running) - budget
        batch = len(running)
        now_s += step_s(batch, context, prefill, work, batch + prefill, batch + chunks)
        steps += batch > 0
        context += batch
        while running and running[0][0] == steps:
            request = heappop(running)[1]
            context -= inputs[request] + outputs[request]
            finish_s[request], left = now_s, left - 1
        while prefilling and prefilling[0][1] == inputs[prefilling[0][0]]:
            request = prefilling.popleft()[0]
            if outputs[request] == 1:
                finish_s[request], left = now_s, left - 1
            else:
                heappush(running, (steps + outputs[request] - 1, request))
                context += inputs[request] + 1
    return finish_s
