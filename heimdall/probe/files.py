"""Look at the files that a configuration names: whether they can be read, and secrets in them by everybody."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from heimdall.probe.found import FAIL, NOTE, OK, Found

SECRETS: Final = frozenset((
    "redis.former_secret_file", "redis.key_file", "redis.password_file", "redis.secret_file",
    "redis.sentinel_password_file", "watch.token_file",
))  # fmt: skip
"""The keys whose files nobody else should read."""


def files(named: Iterable[tuple[str, str]]) -> Iterator[Found]:
    """Yield what is found of each file.

    :param named: keys and paths.
    """
    for key, path in named:
        try:
            status = os.stat(path)
            with open(path, "rb") as opened:
                opened.read(1)
        except OSError as error:
            yield Found("file", key, FAIL, f"{path}: {error.strerror or error}", {"path": path})
            continue
        facts = {"path": path, "bytes": status.st_size}
        if key in SECRETS and status.st_mode & stat.S_IROTH:
            yield Found("file", key, NOTE, f"{path}: everybody on this machine can read it; chmod o= {path}", facts)
        else:
            yield Found("file", key, OK, f"{path}, {status.st_size} bytes", facts)
