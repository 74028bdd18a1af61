"""Write a configuration file that explains every key: ``python -m heimdall.config.sample``."""

from __future__ import annotations

import re
import sys
from textwrap import wrap
from typing import Final

from heimdall.config.keys import KEYS, SECTIONS
from heimdall.config.reference import about, expected
from heimdall.config.show import literal

_TOP = """\
# The configuration of Heimdall, with every key. What stands behind a # is the default: take the # away to change it.
# An environment variable beats this file: HEIMDALL_CACHE_MEMORY is memory in section [cache].
# A section stands here once: put the lines of an example below the [section] that is there.
# Under systemd, the addresses to serve DNS on stand in heimdall.socket.
# What is wrong with it: twistd -n heimdall --config FILE --check
"""

HERE: Final = {"redis.url": "embedded:/var/lib/heimdall/redis"}
"""The keys that the file sets: a host runs a Redis of its own, whose answers are there after a restart."""

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def sample() -> str:
    """Return the file: every key with what it means, its kind of value and, behind a ``#``, its default.

    Those in :data:`HERE` are set.
    """
    lines = [_TOP]
    for section in SECTIONS:
        lines += [*_comment(f"{about(section)}"), f"[{section}]"]
        for key in KEYS.values():
            if key.section == section:
                lines += ["", *_comment(_LINK.sub(r"\1", key.text)), *_comment(f"Value: {expected(key)}.")]
                if key.path in HERE:
                    lines += _comment(f"Default: {literal(key.default)}. Here this host has a Redis of its own:")
                    lines.append(f"{key.name} = {literal(HERE[key.path])}")
                else:
                    lines.append(f"#{key.name} = {literal(key.default)}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, 110, break_long_words=False, break_on_hyphens=False)]


if __name__ == "__main__":
    sys.stdout.write(sample())
