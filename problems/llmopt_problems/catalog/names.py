"""Looking a name up: without regard to case, by alias, and with a suggestion when it is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from llmopt_problems.errors import Fault, ProblemError


def name_index(aliases_by_name: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Folded name or alias to the catalog's own name; `ValueError` when two entries claim one alias."""
    index: dict[str, str] = {}
    for name, aliases in aliases_by_name.items():
        for alias in (name, *aliases):
            if index.setdefault(alias.casefold(), name) != name:
                raise ValueError(f"catalog: {alias!r} names both {index[alias.casefold()]} and {name}")
    return index


def resolve(kind: str, name: str, index: Mapping[str, str]) -> str:
    """The catalog's own name for `name`; `ProblemError` with the nearest names when there is none."""
    known = index.get(name.casefold())
    if known is not None:
        return known
    close = get_close_matches(name.casefold(), index, n=3, cutoff=0.6)
    near = ", ".join(dict.fromkeys(index[match] for match in close))
    meant = f"did you mean {near}? " if near else ""
    remedy = f"{meant}`llmopt catalog` lists all names"
    raise ProblemError(Fault(f"unknown {kind}", f"known-{kind}", remedy, name))
