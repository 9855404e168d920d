"""What MkDocs needs to know of this repository: pages made from the code, pages outside `docs/`, formulas.

Formulas become MathML when the site is built, so that no page loads a script from elsewhere to show them.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

from llmopt_optimizer.reference.pages import pages

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    **{
        f"{room}/README.md": f"rooms/{room}.md"
        for room in ("problems", "calibration", "simulator", "optimizer", "benchmarks")
    },
}
"""Files of the repository that are pages of the site, by their path there."""
LINK = re.compile(r"(!?)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Let blocks of language `math` be formulas, and list new pages of `docs/` under `How to`."""
    (how_to,) = (part["How to"] for part in config.nav if "How to" in part)
    listed = str(config.nav)
    how_to += [page.name for page in sorted((ROOT / "docs").glob("*.md")) if f"'{page.name}'" not in listed]
    formulas = {"name": "math", "class": "math", "format": _block}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [formulas]}
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages and those that stand elsewhere in the repository."""
    made = {f"reference/{name}": text for name, text in pages().items()}
    made |= {target: (ROOT / source).read_text(encoding="utf-8") for source, target in OUTSIDE.items()}
    made["assets/site.css"] = (Path(__file__).parent / "site.css").read_text(encoding="utf-8")
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links between files of the repository become links between pages; others become plain words."""
    source = {target: path for path, target in OUTSIDE.items()}.get(page.file.src_uri)
    if source is None and page.file.src_uri.startswith("reference/"):
        return markdown
    here = source or f"docs/{page.file.src_uri}"

    def replaced(found: re.Match[str]) -> str:
        image, words, target, anchor = (found.group(place) or "" for place in (1, 2, 3, 4))
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        inside = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is None:
            return words
        there = posixpath.relpath(inside, posixpath.dirname(page.file.src_uri) or ".")
        return f"{image}[{words}]({there}{anchor})"

    return LINK.sub(replaced, markdown)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Formulas between words."""
    pattern = r'<span class="arithmatex">\\\((.*?)\\\)</span>'
    return re.sub(pattern, lambda found: _mathml(html.unescape(found.group(1)), "inline"), content)


def _block(source: str, *_: Any, **__: Any) -> str:
    body = source.replace(r"\begin{aligned}", "").replace(r"\end{aligned}", "")
    lines = [line.strip().removesuffix(r"\\") for line in body.strip().splitlines()]
    rows = "".join(f"<div>{_mathml(line.replace('&=', '='), 'block')}</div>" for line in lines)
    return f'<div class="formula">{rows}</div>'


def _mathml(latex: str, display: str) -> str:
    return str(convert(latex.replace(r"\_", "_"), display=display))
