"""Walk the settings: every key with its path, its environment variable, its default and its kind."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import attrs
from attrs import evolve, frozen

from heimdall.config.settings import Settings


@frozen
class Key:
    """A key of the configuration."""

    section: str
    name: str
    default: Any
    text: str
    kind: str
    secret: bool

    @property
    def path(self) -> str:
        """The key as messages name it: ``section.key``."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"HEIMDALL_{self.section}_{self.name}".upper()


def _walk() -> dict[str, Key]:
    keys = {}
    defaults = Settings()
    for section in attrs.fields(Settings):
        values = getattr(defaults, section.name)
        for field in attrs.fields(type(values)):
            key = Key(
                section.name,
                field.name,
                getattr(values, field.name),
                field.metadata["text"],
                field.metadata["kind"],
                field.metadata["secret"],
            )
            keys[key.path] = key
    return keys


KEYS: dict[str, Key] = _walk()
"""All keys by their paths, in the order of the settings."""

SECTIONS: dict[str, type[Any]] = {
    section.name: type(getattr(Settings(), section.name)) for section in attrs.fields(Settings)
}
"""The classes of the sections by their names."""


def value(settings: Settings, path: str) -> Any:
    """Return the value of a key."""
    return attrgetter(path)(settings)


def changed(old: Settings, new: Settings) -> list[str]:
    """Return the paths of the keys whose values differ."""
    return [path for path in KEYS if value(old, path) != value(new, path)]


def held(settings: Settings, old: Settings, paths: Iterable[str]) -> Settings:
    """Return settings with the values that some keys had before."""
    for path in paths:
        section, _, name = path.partition(".")
        settings = evolve(settings, **{section: evolve(getattr(settings, section), **{name: value(old, path)})})
    return settings
