"""Models of the catalog: one trimmed Hugging Face config a file, with its source, in `models/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from llmopt_problems.catalog.names import name_index, resolve
from llmopt_problems.models.config import model_from_config
from llmopt_problems.models.spec import ModelSpec


@cache
def model(name: str) -> ModelSpec:
    """The model called `name` (any case, or an alias such as its Hugging Face repository).

    Raises `ProblemError` with the nearest names when the catalog has none of that name.
    """
    known = resolve("model", name, name_index({key: _aliases(config) for key, config in _configs().items()}))
    return model_from_config(_configs()[known], known)


def model_names() -> tuple[str, ...]:
    """Names of all models, sorted without regard to case."""
    return tuple(sorted(_configs(), key=str.casefold))


def model_source(name: str) -> str:
    """Where the facts of the model with this catalog name come from."""
    return str(_configs()[name]["_source"])


def model_repository(name: str) -> str | None:
    """The Hugging Face repository of the model with this catalog name; None without published weights."""
    return next((alias for alias in _aliases(_configs()[name]) if "/" in alias), None)


def _aliases(config: Mapping[str, object]) -> list[str]:
    aliases = config["_aliases"]
    assert isinstance(aliases, list)
    return aliases


@cache
def _configs() -> Mapping[str, Mapping[str, object]]:
    folder = files(__package__).joinpath("models")
    texts = [file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".json")]
    configs = [json.loads(text) for text in texts]
    return {config["_name"]: config for config in configs}
