"""A bash script that starts one machine's part of a deployment: `launch.sh POOL` or `launch.sh router`."""

from __future__ import annotations

from collections.abc import Mapping

from . import sglang, vllm
from .commands import ServerCommand, shell_lines
from .installation import Installation, PoolInstallation

HEADER = """\
#!/usr/bin/env bash
# {title}
#
{plan}
#
# Run this on every machine. Where one holds several instances, set CUDA_VISIBLE_DEVICES and PORT for each.
{usage}
set -euo pipefail
HOST=${{HOST:-0.0.0.0}} PORT=${{PORT:-{port}}} NODE_RANK=${{NODE_RANK:-0}} LEADER=${{LEADER:-127.0.0.1}}

case "${{1:-}}" in
"""
FOOTER = """\
*)
  echo "usage: $0 {choices}" >&2
  exit 2
  ;;
esac
"""


def script(title: str, plan: Installation, engine: str, servers: Mapping[str, ServerCommand]) -> str:
    """The script, with one case for each pool and, for SGLang, one for the router."""
    cases = [_pool_case(pool, servers[pool.role]) for pool in plan.pools]
    choices: list[str] = [pool.role for pool in plan.pools]
    if engine == "sglang":
        cases.append(_router_case(plan))
        choices.append("router")
    head = HEADER.format(
        title=title,
        plan="\n".join(f"# {line}" for line in _plan_lines(plan)),
        usage=_usage(plan, engine),
        port=sglang.PORT if engine == "sglang" else vllm.PORT,
    )
    return head + "".join(cases) + FOOTER.format(choices="|".join(choices))


def _plan_lines(plan: Installation) -> list[str]:
    return [
        f"{pool.role}: {pool.instances} instance{'s' * (pool.instances > 1)} of {pool.layout.world} x "
        f"{pool.accelerator}" + (f" on {pool.nodes} machines each" if pool.nodes > 1 else "")
        for pool in plan.pools
    ]


def _usage(plan: Installation, engine: str) -> str:
    lines = []
    if any(pool.nodes > 1 for pool in plan.pools):
        lines.append(
            "# Instances of several machines: LEADER is the first one's address, NODE_RANK 0, 1, … of it."
        )
    if engine == "sglang":
        urls = " ".join(
            f"{name}_URLS='http://A:{sglang.PORT} http://B:{sglang.PORT}'" for name in _url_names(plan)
        )
        lines.append(f"# Then the router, once: {urls} $0 router")
        lines.extend(f"# {note}." for note in sglang.router_policy(plan)[1])
    elif plan.mode == "disaggregated":
        lines.append(
            "# A proxy that sends requests to prefill and decode is not part of vLLM: use llm-d or Dynamo."
        )
    else:
        lines.append("# Put a load balancer in front of the instances.")
    return "\n".join(lines)


def _url_names(plan: Installation) -> tuple[str, ...]:
    return ("WORKER",) if plan.mode == "aggregated" else ("PREFILL", "DECODE")


def _pool_case(pool: PoolInstallation, server: ServerCommand) -> str:
    own = shell_lines(("exec", *server.program), server.arguments, indent="    ")
    if server.worker_arguments is None:
        return f"{pool.role})\n  {own}\n  ;;\n"
    worker = shell_lines(("exec", *server.program), server.worker_arguments, indent="      ")
    ranks = pool.layout.dp // pool.nodes
    return (
        f'{pool.role})\n  if [ "$NODE_RANK" -gt 0 ]; then\n    FIRST_RANK=$((NODE_RANK * {ranks}))\n'
        f"    {worker}\n  fi\n  {own}\n  ;;\n"
    )


def _router_case(plan: Installation) -> str:
    command = shell_lines(
        ("exec", *sglang.ROUTER), ("--host", "0.0.0.0", *sglang.router_options(plan)), "    "
    )
    if plan.mode == "aggregated":
        return f"router)\n  {command} \\\n    --worker-urls $WORKER_URLS\n  ;;\n"
    return (
        "router)\n  workers=()\n"
        f'  for url in $PREFILL_URLS; do workers+=(--prefill "$url" {sglang.BOOTSTRAP_PORT}); done\n'
        '  for url in $DECODE_URLS; do workers+=(--decode "$url"); done\n'
        f'  {command} \\\n    "${{workers[@]}}"\n  ;;\n'
    )
