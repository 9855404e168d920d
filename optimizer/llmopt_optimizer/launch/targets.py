"""What `llmopt launch` writes: one file a target, from a result and the engine's inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmopt_optimizer.errors import LaunchError
from llmopt_optimizer.scenario import Scenario
from llmopt_problems.deployment import Deployment, Routing

from . import dynamo, kubernetes, llmd, sglang, vllm
from .commands import ServerCommand, filled
from .installation import Installation, installation
from .inventory import Inventory, inventory
from .manifests import dumped, leader_slots
from .script import script

Target = Literal["sglang", "vllm", "dynamo", "llm-d", "kubernetes"]
ServingEngine = Literal["sglang", "vllm"]

IMAGES: Mapping[str, str] = {
    "sglang": "lmsysorg/sglang:v{version}",
    "vllm": "vllm/vllm-openai:v{version}",
    "dynamo-sglang": "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.4.0",
    "dynamo-vllm": "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0",
    "llm-d": "ghcr.io/llm-d/llm-d-cuda:latest",
}
"""Default container images; `--image` names another. The last three are those of the projects' own
examples."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user may say about a launch beside the result."""

    target: Target
    engine_version: str | None = None
    checkpoint: str | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """One file that starts a deployment."""

    file_name: str
    text: str
    plan: Installation
    engine: ServingEngine
    version: str
    servers: Mapping[str, ServerCommand]
    """By pool."""


def launch(scenario: Scenario, deployment: Deployment, choices: Choices, title: str) -> Launch:
    """The file that starts `deployment` under a target; `title` says in a line where it came from.

    Raises `LaunchError` for what the engine cannot do and for a version without inventory, `DeploymentError`
    for what the memory model rules out.
    """
    engine = _engine(scenario, choices.target)
    flags = inventory(engine, choices.engine_version)
    plan = installation(scenario, deployment, choices.checkpoint)
    _require_router(plan, engine, choices.target)
    command = sglang.server_command if engine == "sglang" else vllm.server_command
    servers: dict[str, ServerCommand] = {pool.role: command(plan, pool, flags) for pool in plan.pools}
    for server in servers.values():
        _require_known(server, flags)
    image = choices.image or IMAGES[_image_key(choices.target, engine)].format(version=flags.version)
    name, text = _file(plan, engine, servers, choices.target, image, title)
    return Launch(name, text, plan, engine, flags.version, servers)


def _engine(scenario: Scenario, target: Target) -> ServingEngine:
    if target in ("sglang", "vllm"):
        return "sglang" if target == "sglang" else "vllm"
    planned = "vllm" if target == "llm-d" else scenario.problem.engine
    if planned == "trtllm":
        raise LaunchError(
            f"{target} with TensorRT-LLM is not supported: its settings are files, not flags; solve with "
            "engine sglang or vllm"
        )
    return planned


def _require_router(plan: Installation, engine: ServingEngine, target: Target) -> None:
    """LaunchError for settings of SGLang's router where another one, or none, is started."""
    started = engine == "sglang" and target in ("sglang", "kubernetes")
    if plan.routing != Routing() and not started:
        raise LaunchError(
            f"{target} does not start SGLang's router, whose settings search.routing are: remove them, or "
            "launch with sglang or kubernetes"
        )


def _image_key(target: Target, engine: ServingEngine) -> str:
    if target == "dynamo":
        return f"dynamo-{engine}"
    return "llm-d" if target == "llm-d" else engine


def _require_known(server: ServerCommand, flags: Inventory) -> None:
    """LaunchError when the inventory would refuse an argument: the engine has changed under our feet."""
    for parts in (server.arguments, server.worker_arguments or ()):
        wrong = flags.problems(filled(parts, leader_slots(8000)))
        wrong = tuple(each for each in wrong if "$(" not in each)
        if wrong:
            raise LaunchError(
                f"{flags.engine} {flags.version} does not take {'; '.join(wrong)}: "
                "take another --engine-version"
            )


def _file(
    plan: Installation,
    engine: ServingEngine,
    servers: Mapping[str, ServerCommand],
    target: Target,
    image: str,
    title: str,
) -> tuple[str, str]:
    if target in ("sglang", "vllm"):
        return "launch.sh", script(title, plan, engine, servers)
    if target == "dynamo":
        return "dynamo.yaml", dumped(
            [dynamo.graph(plan, engine, servers, image)], (title, *dynamo.notes(plan))
        )
    if target == "llm-d":
        return "values.yaml", dumped([llmd.values(plan, servers, image)], (title,))
    port = sglang.PORT if engine == "sglang" else vllm.PORT
    objects = kubernetes.objects(plan, servers, image, port)
    if engine == "vllm":
        return "kubernetes.yaml", dumped(objects, (title,))
    router = kubernetes.router_objects(plan, image)
    return "kubernetes.yaml", dumped([*objects, *router], (title, *sglang.router_policy(plan)[1]))
