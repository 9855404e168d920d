"""The code blocks of a page: language, text, and what the comment above says is to be done with them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
OUTPUT = {"text", "csv", "math", "mermaid"}
"""Languages of blocks that are shown, not run."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    mark: str

    @property
    def slow(self) -> bool:
        """Whether it takes more than seconds."""
        return self.mark == "test: slow"

    @property
    def file(self) -> str:
        """The file that it is the content of, empty for none."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else ""

    def commands(self) -> list[list[str]]:
        """The words of every command in a shell block, comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [line for line in words if line]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(each["language"], each["text"], each["mark"] or "") for each in found]


def pages() -> list[Path]:
    """Every page that people read: the README files and `docs/`."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
