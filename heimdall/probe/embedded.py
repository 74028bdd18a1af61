"""See which program an embedded Redis would be, and whether its folder is free; nothing is started."""

from __future__ import annotations

from typing import Final

from heimdall.probe.found import FAIL, NOTE, OK, Found
from heimdall.redis_server.home import look_at, user_of
from heimdall.redis_server.program import MISSING, find, version

WHAT: Final = "embedded"


def embedded(folder: str, memory: int) -> list[Found]:
    """Return what is found.

    :param folder: the folder; empty for a temporary one.
    :param memory: bytes that it may take.
    """
    program = find()
    if not program:
        return [Found("redis", WHAT, FAIL, f"{MISSING}; the node goes on alone until then", {"program": None})]
    facts = {"program": program, "memory": memory, "folder": folder or None}
    try:
        named = version(program)
    except ValueError as error:
        return [Found("redis", WHAT, FAIL, str(error), facts)]
    kept = f"keeps answers in {folder}" if folder else "keeps answers until the node ends: name a folder to keep them"
    said = f"{named}, {program}; {memory / 1e6:.4g} MB; {kept}"
    found = [Found("redis", WHAT, OK, said, {**facts, "version": named})]
    fault = look_at(folder)[0] if folder else ""  # a folder of another user is a warning of the configuration
    if fault:
        found.append(Found("redis", "folder", FAIL, fault, {"folder": folder}))
    elif folder and (user := user_of(folder)):
        who = f"process {user}" if user > 0 else "another process"
        found.append(Found("redis", "folder", NOTE, f"{who} uses {folder} now", {"process": max(user, 0)}))
    return found
