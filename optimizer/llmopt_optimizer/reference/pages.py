"""All pages that are made from the code: `python -m llmopt_optimizer.reference.pages DIR` writes them."""

from __future__ import annotations

import sys
from pathlib import Path

from llmopt_optimizer.reference.commands_page import commands_page
from llmopt_optimizer.reference.metric_pages import metric_pages
from llmopt_optimizer.reference.python_page import python_page
from llmopt_optimizer.reference.schema_page import schema_page


def pages() -> dict[str, str]:
    """Markdown by path below `reference/`."""
    return {
        "commands.md": commands_page(),
        "problem.md": schema_page(),
        "python.md": python_page(),
        **metric_pages(),
    }


def main(arguments: list[str]) -> None:
    """Write the pages into a folder."""
    (folder,) = map(Path, arguments)
    for name, text in pages().items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
