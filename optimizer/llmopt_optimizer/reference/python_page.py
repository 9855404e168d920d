"""The Python interface: what `llmopt` and `llmopt.symbolic` offer, with their signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any


def python_page() -> str:
    """The page `reference/python.md`."""
    import llmopt

    facade = ((f"llmopt.{name}", getattr(llmopt, name)) for name in llmopt.__all__)
    symbolic = (
        (f"llmopt.symbolic.{name}", getattr(llmopt.symbolic, name)) for name in llmopt.symbolic.__all__
    )
    intro = "# Python\n\n`import llmopt` prints nothing and loads what it needs when it is first used.\n"
    return "\n".join([intro, *_sections(facade), *_sections(symbolic)])


def _sections(offered: Iterable[tuple[str, Any]]) -> list[str]:
    return [_section(name, each) for name, each in offered if not inspect.ismodule(each)]


def _section(name: str, offered: Any) -> str:
    called = inspect.isfunction(offered)
    head = f"```text\n{name}{inspect.signature(offered)}\n```\n" if called else ""
    return f"## {name}\n\n{head}\n{inspect.getdoc(offered) or ''}\n"
