"""Show the effective configuration as TOML: where each value came from, and no secrets."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from heimdall import __version__
from heimdall.config.faults import printable
from heimdall.config.keys import KEYS, SECTIONS
from heimdall.config.load import Loaded
from heimdall.config.url import hidden

WIDEST = 100
"""Characters of a list on one line."""


def toml(loaded: Loaded) -> str:
    """Return a configuration as TOML, with the origin of each value in a comment behind it.

    Passwords are shown as ``***``. Read as a configuration file it gives the same settings, less the passwords.
    """
    lines = [f"# Heimdall {__version__}: the effective configuration"]
    lines += [printable(f"# warning: {warning}") for warning in loaded.warnings]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for key in KEYS.values():
            if key.section == section:
                value = getattr(getattr(loaded.settings, section), key.name)
                if key.secret:
                    value = _hidden(key.kind, value)
                lines.append(_line(key.name, value, loaded.origins[key.path]))
    return "\n".join(lines) + "\n"


def _hidden(kind: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_hidden(kind, item) for item in value)
    return hidden(value) if kind in ("url", "region", "replica") else "***" * bool(value)


def literal(value: Any) -> str:
    """Return a value of the settings as TOML."""
    if isinstance(value, tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(name)} = {literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"  # with no exponent, which an environment variable may not have
    # Texts, numbers and truth are written in TOML as in JSON, as long as texts are printable.
    return json.dumps(value, ensure_ascii=False)


def _line(name: str, value: Any, origin: str) -> str:
    text, comment = f"{name} = {literal(value)}", printable(f"# {origin}")
    if isinstance(value, tuple) and len(text) > WIDEST:
        items = "".join(f"    {literal(item)},\n" for item in value)
        return f"{name} = [  {comment}\n{items}]"
    return f"{text}  {comment}"
