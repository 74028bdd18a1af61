"""A machine made up for a test: files, addresses and code as the test says."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from heimdall.config.load import Loaded, load
from heimdall.config.machine import Machine

FILE = "/etc/heimdall.toml"


def machine(
    files: Mapping[str, str | bytes] | None = None, own: Collection[str] = (), code: Collection[str] = ()
) -> Machine:
    """Return a machine with these files, addresses and importable names."""
    files = files or {}

    def read_file(path: str) -> str:
        try:
            text = files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None
        return text if isinstance(text, str) else text.decode()

    def find(name: str) -> object:
        if name not in code:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return machine

    def read_record(text: str) -> object:
        if "BROKEN" in text:
            raise ValueError("unknown type BROKEN")
        return text

    return Machine(read_file, files.__contains__, own.__contains__, find, read_record)


def from_file(toml: str, **files: str) -> Loaded:
    """Load a configuration from the text of one file."""
    return load({"config": FILE}, {}, machine({FILE: toml, **files}))
