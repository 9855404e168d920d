"""Every command with its arguments and options, as the command line itself tells them."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from llmopt_optimizer.cli.app import app
from llmopt_optimizer.cli.outcome import EXIT_CODES_HELP


def commands_page() -> str:
    """The page `reference/commands.md`."""
    group: Any = get_command(app)
    intro = f"# Commands\n\n{group.help}\n\n{EXIT_CODES_HELP}\n"
    return "\n".join([intro, *(_section(name, command) for name, command in _leaves("llmopt", group))])


def _leaves(path: str, command: Any) -> list[tuple[str, Any]]:
    """Every command that does something, by what is typed to reach it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(path, command)]
    return [leaf for name, each in inner.items() for leaf in _leaves(f"{path} {name}", each)]


def _section(name: str, command: Any) -> str:
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    head = ["| argument | default | meaning |", "| --- | --- | --- |"] if rows else []
    return "\n".join([f"## {name}\n", " ".join((command.help or "").split()), "", *head, *rows, ""])


def _row(parameter: Any) -> str:
    flags = [*parameter.opts, *parameter.secondary_opts]
    is_option = parameter.param_type_name == "option"
    name = (
        ", ".join(f"`{flag}`" for flag in flags) if is_option else f"`{parameter.metavar or parameter.name}`"
    )
    value = f" `{parameter.metavar}`" if is_option and parameter.metavar else ""
    default = "required" if parameter.required else _default(parameter.default)
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| {name}{value} | {default} | {meaning} |"


def _default(value: object) -> str:
    return "" if value is None or value is False or value == "" or callable(value) else f"`{value}`"
