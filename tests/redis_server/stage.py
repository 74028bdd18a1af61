"""What the tests of an embedded Redis share: short folders, disks of their own, and looks at processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hiredis
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.redisserver import RedisServer


def folder(case: SynchronousTestCase | TestCase) -> Path:
    """Return a folder that does not exist yet; its path is short, and what will be in it ends with the test."""
    made = Path(tempfile.mkdtemp(prefix="he-"))
    case.addCleanup(shutil.rmtree, made, ignore_errors=True)
    return made / "redis"


def given_away(case: SynchronousTestCase | TestCase) -> Path:
    """Return a folder that belongs to another user, number 12345.

    :raises SkipTest: we are not root.
    """
    if os.geteuid():
        raise SkipTest("only root can give a folder away")
    place = folder(case)
    place.mkdir(mode=0o700)
    os.chown(place, 12345, -1)
    return place


def small_disk(case: SynchronousTestCase | TestCase, size: str = "4m") -> Path:
    """Return a folder that is a disk of its own.

    :raises SkipTest: nobody lets us mount one.
    """
    place = folder(case)
    place.mkdir(mode=0o700)
    options = f"size={size},mode=700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        raise SkipTest("no file system can be mounted here: that takes root")
    unmounting = ["umount", "--lazy", str(place)]
    case.addCleanup(lambda: subprocess.run(unmounting, check=True))
    return place


def fill(place: Path) -> Callable[[], object]:
    """Fill a disk up; return what frees it again."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler.unlink


def command(socket: str, *words: bytes | str | int) -> object:
    """Run a command at a Redis; None where none answers there, or it answers an error."""
    server = RedisServer(unix=True)
    shutil.rmtree(server.folder)
    server.path = socket
    with suppress(OSError, hiredis.HiredisError):
        return server.command(*words)
    return None


def runs(process: int) -> bool:
    """Return whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
