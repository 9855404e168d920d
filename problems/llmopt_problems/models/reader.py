"""Typed access to the keys of one `config.json`: a value of the right kind, or an error that names the key.

A key that is absent or null counts as absent. Nothing is guessed: an absent key without a default, or a value
of another kind, is a `ProblemError` with file, key, value, rule and remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from llmopt_problems.errors import Fault, ProblemError


@dataclass(frozen=True, slots=True)
class ConfigReader:
    """The keys of one config, or of its nested text config."""

    file: str
    values: Mapping[str, object]

    def get(self, *keys: str) -> object:
        """Value of the first of `keys` that is present and not null; None when there is none."""
        present = (self.values[key] for key in keys if self.values.get(key) is not None)
        return next(present, None)

    def integer(self, *keys: str, default: int | None = None) -> int:
        """A positive integer under the first of `keys` that is present."""
        value = self.get(*keys)
        if value is None:
            value = default
        if type(value) is not int or value < 1:
            remedy = f"give {' or '.join(keys)} as a positive integer"
            raise self.error(keys[0], value, "positive-integer", remedy)
        return value

    def count(self, key: str, default: int = 0) -> int:
        """An integer that may be 0."""
        value = self.get(key)
        if value is None:
            return default
        return 0 if type(value) is int and value == 0 else self.integer(key)

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, value, "boolean", "give true or false")
        return value

    def text(self, *keys: str) -> str | None:
        """A string, or None when absent."""
        value = self.get(*keys)
        if value is not None and not isinstance(value, str):
            raise self.error(keys[0], value, "string", "give a string")
        return value

    def per_layer(self, key: str, layers: int, choices: Collection[str]) -> list[str] | None:
        """A list with one of `choices` for each layer, or None when absent."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != layers:
            raise self.error(key, value, "one-entry-a-layer", f"give a list of {layers} entries")
        for entry in value:
            if not isinstance(entry, str) or entry not in choices:
                remedy = f"only {', '.join(sorted(choices))} are known"
                raise self.error(key, entry, "known-layer-type", remedy)
        return value

    def section(self, key: str) -> ConfigReader | None:
        """The nested section under `key`, or None when absent."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.error(key, value, "section", "give a JSON object")
        return ConfigReader(self.file, value)

    def error(self, key: str, value: object, rule: str, remedy: str) -> ProblemError:
        """The error about `key`, to be raised."""
        what = "missing" if value is None else "not usable"
        return ProblemError(Fault(f"model config key is {what}", rule, remedy, value, key, self.file))
