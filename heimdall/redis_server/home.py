"""Where an embedded Redis lives: a folder that one node has for itself, with a lock, the socket and the data."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from heimdall.redislink.address import SOCKET

LONGEST_PATH: Final = 103
"""Bytes that the path of a Unix socket may have on every system; Linux takes 107."""

PREFIX: Final = "heimdall-redis-"
"""What the names of temporary folders begin with."""

OLD: Final = 60.0
"""Seconds after which a temporary folder without an owner is taken for left behind."""

POLL: Final = 0.05
"""Seconds between two tries to have the lock."""

_LOCK, _DATA = "lock", "data"


class Home:
    """A folder, and the socket in it.

    Without a name it is a temporary one, which ends with its node. The socket of a folder whose path is too long for
    it lies in a temporary folder as well.

    :ivar named: as given; ``folder`` the folder, and ``kept`` whether what is in it outlives the node.
    :ivar at: the folder that the socket is in.

    :param named: the absolute path of the folder; empty for a temporary one.
    :param environ: says where temporary folders are: RUNTIME_DIRECTORY of systemd, or XDG_RUNTIME_DIR.
    """

    def __init__(self, named: str, environ: Mapping[str, str]) -> None:
        temporary = os.path.join(_runtime(environ), PREFIX + secrets.token_hex(8))
        self.named, self.kept = named, bool(named)
        self.folder = named or temporary
        self.at = self.folder if _fits(self.folder) else temporary
        self._temporary = temporary
        self._folders = list(dict.fromkeys((self.folder, self.at)))
        self._locks: list[int] = []

    @property
    def socket(self) -> str:
        """The path of the socket."""
        return f"{self.at}/{SOCKET}"

    @property
    def data(self) -> str:
        """The folder that Redis writes into."""
        return f"{self.folder}/{_DATA}"

    @property
    def aside(self) -> str:
        """The folder of data that Redis could not read."""
        return f"{self.folder}/{_DATA}.unreadable"

    @property
    def lock(self) -> int:
        """The descriptor of the lock: the folder is taken until the last process that has it open ends."""
        return self._locks[0]

    def take(self, patience: float = 0.0) -> None:
        """Have the folder from now on, and write our number into it; a folder that was removed is made again.

        :param patience: seconds to wait, blocking, for a process that has it and is about to end.
        :raises ValueError: another node uses it, or other users may look into it; the text says so.
        :raises OSError: it cannot be made, or written to.
        """
        if self._locks and all(map(_in_place, self._locks, self._folders)):
            for lock in self._locks:
                _sign(lock)  # a daemon took it before its last fork
            return
        self.leave()
        try:
            for folder in self._folders:
                if folder == self._temporary:
                    _sweep(os.path.dirname(folder))
                os.makedirs(folder, 0o700, exist_ok=True)
                if fault := fault_of(folder, os.geteuid()):
                    raise ValueError(fault)
                self._locks.append(_locked(folder, time.monotonic() + patience))
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Have it no longer; take away what was temporary."""
        if self._locks and self._temporary in (self.folder, self.at):
            shutil.rmtree(self._temporary, ignore_errors=True)
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def set_aside(self) -> None:
        """Begin without the data, which are kept beside, in place of those that were set aside before.

        :raises OSError: that cannot be done; the data are where they were.
        """
        shutil.rmtree(self.aside, ignore_errors=True)
        os.rename(self.data, self.aside)

    def put_back(self) -> None:
        """Go on with the data that were set aside.

        :raises OSError: that cannot be done; they are where they were set aside.
        """
        shutil.rmtree(self.data, ignore_errors=True)
        os.rename(self.aside, self.data)


def fault_of(folder: str, user: int) -> str:
    """Return why a folder cannot be used; nothing where it can.

    :param user: the number of the user who would.
    :raises OSError: it is not there.
    """
    status = os.stat(folder)
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is no folder"
    if status.st_uid != user:
        return f"{folder} belongs to another user, number {status.st_uid}, than the one that runs this node"
    if status.st_mode & 0o077:
        return f"other users can reach into {folder}: chmod 700 {folder}, or name another folder"
    return ""


def look_at(folder: str) -> tuple[str, str]:
    """Look whether this user can have a folder, which is there or has to be made; nothing is changed.

    The user who looks may be another one than the user who serves: a folder of another user is no fault.

    :return: why it cannot be used, or else what should be known of it; nothing where all is well.
    """
    there = folder
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        return f"{folder} cannot be used: {there} is no folder", ""
    owner, user = os.stat(there).st_uid, os.geteuid()
    if there == folder and (fault := fault_of(folder, owner)):
        return fault, ""
    if owner != user and (there == folder or owner):
        return "", f"{there} belongs to user {owner}: only a node that runs as that user can use {folder}"
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return "", f"{folder} is on a file system that takes nothing: the node goes on alone until it does"
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"{folder} cannot be used: user {user} may not write into {there}", ""
    return "", ""


def user_of(folder: str) -> int:
    """Return the number of the process that has a folder; 0 where none has, or that cannot be seen."""
    try:
        lock = os.open(f"{folder}/{_LOCK}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        told = os.read(lock, 20).strip()
        return int(told) if told.isdigit() else -1
    else:
        return 0
    finally:
        os.close(lock)


def may_pass(error: OSError) -> bool:
    """Return whether an error is that of a disk, or of a busy machine, for which no node should stay away."""
    return error.errno in (
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    )  # fmt: skip


def _fits(folder: str) -> bool:
    return len(os.fsencode(f"{folder}/{SOCKET}")) <= LONGEST_PATH


def _runtime(environ: Mapping[str, str]) -> str:
    """Return where temporary folders are made: the first place that is there, and has a path short enough."""
    name = PREFIX + "0" * 16
    places = (environ.get("RUNTIME_DIRECTORY", "").split(":")[0], environ.get("XDG_RUNTIME_DIR", ""))
    for place in (*places, tempfile.gettempdir()):
        if os.path.isabs(place) and os.access(place, os.W_OK) and _fits(f"{place}/{name}"):
            return os.path.normpath(place)
    return "/tmp"  # noqa: S108


def _locked(folder: str, until: float) -> int:
    """Return the descriptor of a lock on a folder.

    :param until: when to give up, on the clock of time.monotonic.
    """
    path = f"{folder}/{_LOCK}"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise ValueError(_used(folder, user_of(folder))) from None
            time.sleep(POLL)
        _sign(lock)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _sign(lock: int) -> None:
    """Write the number of this process into a lock."""
    number = b"%d\n" % os.getpid()
    with suppress(OSError):  # on a full disk it has no number in it, and holds all the same
        if os.pread(lock, 20, 0) != number:
            os.truncate(lock, 0)
            os.pwrite(lock, number, 0)


def _in_place(lock: int, folder: str) -> bool:
    """Return whether a lock that we hold is still that of a folder: somebody may have removed both."""
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(f"{folder}/{_LOCK}"))
    except OSError:
        return False


def _used(folder: str, process: int) -> str:
    who = f"process {process}" if process > 0 else "another process"
    return (
        f"{who} uses {folder} already: give each node a folder of its own, or let this one share that Redis by its "
        f"socket, unix://{quote(folder)}/{SOCKET}"
    )


def _sweep(place: str) -> None:
    """Take away the temporary folders of ours that a crash left."""
    for left in Path(place).glob(f"{PREFIX}*"):
        try:
            status = os.lstat(left)
            if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode) or status.st_mtime > time.time() - OLD:
                continue
        except OSError:
            continue
        if user_of(str(left)) == 0:
            shutil.rmtree(left, ignore_errors=True)
