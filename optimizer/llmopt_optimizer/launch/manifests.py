"""Parts of Kubernetes objects that every manifest is made of, as plain dictionaries."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import yaml

from .commands import ServerCommand, Slot, filled
from .installation import PoolInstallation

Object: TypeAlias = dict[str, Any]

GPU = "nvidia.com/gpu"
TOKEN_SECRET = "hf-token-secret"


def dumped(objects: Iterable[Object], comments: Sequence[str]) -> str:
    """The objects as YAML documents after comment lines."""
    head = "".join(f"# {line}\n" for line in comments)
    return head + yaml.safe_dump_all(objects, sort_keys=False, width=110)


def container(pool: PoolInstallation, image: str, command: Sequence[str], arguments: Sequence[str]) -> Object:
    """One engine container with its accelerators, shared memory and access to the weights."""
    return {
        "name": "main",
        "image": image,
        "command": list(command),
        "args": list(arguments),
        "envFrom": [{"secretRef": {"name": TOKEN_SECRET, "optional": True}}],
        "resources": {"limits": {GPU: str(pool.gpus_per_node)}},
    }


def with_shared_memory(spec: Object) -> Object:
    """A pod's spec whose containers share memory between their processes, as NCCL needs it."""
    mount = {"name": "shm", "mountPath": "/dev/shm"}
    containers = [{**each, "volumeMounts": [mount]} for each in spec["containers"]]
    volume = {"name": "shm", "emptyDir": {"medium": "Memory"}}
    return {**spec, "containers": containers, "volumes": [volume]}


def leader_slots(port: int) -> Mapping[Slot, str]:
    """How a pod of a LeaderWorkerSet learns its place: variables that Kubernetes expands in arguments."""
    return {
        Slot.HOST: "0.0.0.0",
        Slot.PORT: str(port),
        Slot.NODE_RANK: "$(LWS_WORKER_INDEX)",
        Slot.LEADER: "$(LWS_LEADER_ADDRESS)",
        Slot.FIRST_RANK: "$(FIRST_RANK)",
    }


def spanning_line(pool: PoolInstallation, server: ServerCommand, port: int) -> str:
    """A bash line that starts whichever machine of an instance it runs on."""
    first = shlex.join((*server.program, *arguments_of(server, port)))
    others = worker_line(pool, server, port)
    return f'if [ "$LWS_WORKER_INDEX" = 0 ]; then exec {_for_shell(first)}; fi; {others}'


def worker_line(pool: PoolInstallation, server: ServerCommand, port: int) -> str:
    """A bash line that starts a machine after the first."""
    parts = server.arguments if server.worker_arguments is None else server.worker_arguments
    words = shlex.join((*server.program, *filled(parts, leader_slots(port))))
    return f"FIRST_RANK=$(( LWS_WORKER_INDEX * {pool.layout.dp // pool.nodes} )); exec {_for_shell(words)}"


def _for_shell(quoted: str) -> str:
    """A quoted command whose `$(NAME)`, which only Kubernetes expands, are shell variables."""
    return re.sub(r"'\$\((\w+)\)([^']*)'", r'"$\1"\2', quoted)


def arguments_of(server: ServerCommand, port: int) -> tuple[str, ...]:
    """The arguments of an instance's first machine."""
    return filled(server.arguments, leader_slots(port))
