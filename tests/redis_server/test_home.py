"""The folder of an embedded Redis: one node's alone, closed to other users, and clean afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from heimdall.redis_server.home import LONGEST_PATH, OLD, PREFIX, Home, look_at, user_of
from tests.redis_server.stage import folder, given_away, small_disk


class Case(SynchronousTestCase):
    """Gives homes up again."""

    def home(self, named: str | Path = "", environ: Mapping[str, str] | None = None) -> Home:
        """Return a home, not taken yet."""
        home = Home(str(named), environ or {})
        self.addCleanup(home.leave)
        return home


class Named(Case):
    """A folder that somebody named."""

    def test_made(self) -> None:
        """A folder that is not there is made, for its user alone, and stays; the socket is to be in it."""
        place = folder(self)
        home = self.home(place)
        home.take()
        self.assertEqual((place.stat().st_mode & 0o777, home.kept, home.socket), (0o700, True, f"{place}/redis.sock"))
        home.leave()
        self.assertTrue(place.is_dir())

    def test_one_user(self) -> None:
        """A folder that a node has is refused to another, which is told who has it, until that one leaves it."""
        place = folder(self)
        first, second = self.home(place), self.home(place)
        first.take()
        said = str(self.assertRaises(ValueError, second.take))
        self.assertIn(f"process {os.getpid()} uses {place} already", said)
        self.assertIn(f"unix://{place}/redis.sock", said)
        self.assertEqual(user_of(str(place)), os.getpid())
        first.leave()
        self.assertEqual(user_of(str(place)), 0)
        second.take()

    def test_removed(self) -> None:
        """A folder that somebody removes is made again, closed to others, with a lock that holds."""
        place = folder(self)
        home, other = self.home(place), self.home(place)
        home.take()
        for remove in (lambda: shutil.rmtree(place), (place / "lock").unlink):
            remove()
            home.take()
            self.assertEqual((place.stat().st_mode & 0o777, user_of(str(place))), (0o700, os.getpid()))
            self.assertIn("uses", str(self.assertRaises(ValueError, other.take)))

    def test_removed_and_taken(self) -> None:
        """One that another node has made again meanwhile is that one's."""
        place = folder(self)
        home, other = self.home(place), self.home(place)
        home.take()
        shutil.rmtree(place)
        other.take()
        self.assertIn("uses", str(self.assertRaises(ValueError, home.take)))

    def test_signed_again(self) -> None:
        """To take a folder again is to write the number of the process into it: a daemon has another one by then."""
        place = folder(self)
        home = self.home(place)
        home.take()
        self.patch(os, "getpid", lambda: 7)
        home.take()
        self.assertEqual((place / "lock").read_text(), "7\n")

    def test_held_by_child(self) -> None:
        """A folder is not free before the last process that holds its lock has ended; until then it is waited for."""
        place = folder(self)
        first, second = self.home(place), self.home(place)
        first.take()
        sleeping = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        child = subprocess.Popen(sleeping, stdin=subprocess.PIPE, pass_fds=[first.lock])
        self.addCleanup(child.wait)
        assert child.stdin is not None
        first.leave()
        self.assertRaises(ValueError, second.take)
        child.stdin.close()
        second.take(patience=60)

    def test_open_to_others(self) -> None:
        """A folder that other users can reach into is refused, with what to do; nothing is changed there."""
        place = folder(self)
        for mode in (0o755, 0o770, 0o701):
            place.mkdir(exist_ok=True)
            place.chmod(mode)
            self.assertIn(f"chmod 700 {place}", str(self.assertRaises(ValueError, self.home(place).take)))
            self.assertEqual((place.stat().st_mode & 0o777, list(place.iterdir())), (mode, []))

    def test_of_another_user(self) -> None:
        """A folder of another user is refused."""
        place = given_away(self)
        self.assertIn("another user, number 12345", str(self.assertRaises(ValueError, self.home(place).take)))

    def test_no_folder(self) -> None:
        """A file is no folder, and where none can be made the reason of the system is told."""
        place = folder(self)
        place.write_text("")
        self.assertRaises(OSError, self.home(place).take)
        self.assertRaises(OSError, self.home(place / "below").take)

    def test_lock_is_no_link(self) -> None:
        """A lock that leads elsewhere is not followed."""
        place = folder(self)
        place.mkdir(mode=0o700)
        (place / "lock").symlink_to(place.parent / "elsewhere")
        self.assertRaises(OSError, self.home(place).take)
        self.assertFalse((place.parent / "elsewhere").exists())

    def test_long_path(self) -> None:
        """Where a path is too long for a socket, that lies in a temporary folder, which ends with the node."""
        runtime, place = folder(self).parent, folder(self) / ("long" * 30)
        home = self.home(place, {"XDG_RUNTIME_DIR": str(runtime)})
        home.take()
        self.assertEqual((home.folder, Path(home.at).parent), (str(place), runtime))
        self.assertLessEqual(len(home.socket), LONGEST_PATH)
        home.leave()
        self.assertEqual((place.is_dir(), os.path.exists(home.at)), (True, False))

    def test_aside(self) -> None:
        """Data are set aside, in place of what was set aside before, and put back as they were."""
        place = folder(self)
        home = self.home(place)
        home.take()
        Path(home.data).mkdir()
        Path(home.data, "aof").write_text("old")
        Path(home.aside).mkdir()
        Path(home.aside, "older").write_text("")
        home.set_aside()
        self.assertEqual((os.listdir(home.aside), os.path.exists(home.data)), (["aof"], False))
        Path(home.data).mkdir()
        home.put_back()
        self.assertEqual((os.listdir(home.data), os.path.exists(home.aside)), (["aof"], False))


class Looked(Case):
    """What a look says beforehand, and a start by the same user after it."""

    def test_free(self) -> None:
        """A folder that can be made, or is there, is well; the look makes nothing."""
        place = folder(self) / "below" / "redis"
        self.assertEqual((look_at(str(place)), place.parent.exists()), (("", ""), False))
        self.home(place).take()
        self.assertEqual(look_at(str(place)), ("", ""))

    def test_below_a_file(self) -> None:
        """A file, and a folder below one, cannot be used."""
        file = folder(self)
        file.write_text("")
        (file.parent / "link").symlink_to(file.parent / "nowhere")
        for place in (file, file / "below" / "redis", file.parent / "link"):
            fault, known = look_at(str(place))
            self.assertEqual((f"{place} cannot be used: " in fault, "is no folder" in fault, known), (True, True, ""))
            self.assertRaises(OSError, self.home(place).take)

    def test_not_ours_to_write(self) -> None:
        """Where this user may make nothing, that is a fault, which names the folder in the way."""
        place = folder(self)
        place.mkdir(mode=0o500)
        if os.geteuid() == 0:
            place.parent.chmod(0o755)
            os.chown(place, 12345, -1)
            self.addCleanup(os.seteuid, 0)
            os.seteuid(12345)
        for each in (place, place / "redis"):
            said = f"{each} cannot be used: user {os.geteuid()} may not write into {place}"
            self.assertEqual(look_at(str(each)), (said, ""))
            self.assertRaises(OSError, self.home(each).take)

    def test_of_another_user(self) -> None:
        """A folder of another user is no fault: that user may serve. Below a folder of root it is one."""
        place = given_away(self)
        for each in (place, place / "redis"):
            fault, known = look_at(str(each))
            self.assertEqual((fault, f"{place} belongs to user 12345" in known), ("", True))
        place.parent.chmod(0o755)
        self.addCleanup(os.seteuid, 0)
        os.seteuid(12346)
        self.assertEqual(look_at(str(place))[0], "")
        self.assertIn("may not write into", look_at(f"{place.parent}/other")[0])

    def test_takes_nothing(self) -> None:
        """A file system that takes nothing now keeps no node from its start, and is no fault."""
        disk = small_disk(self)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        fault, known = look_at(f"{disk}/redis")
        self.assertEqual((fault, "takes nothing" in known), ("", True))


class Temporary(Case):
    """A folder that nobody named."""

    def test_places(self) -> None:
        """It is made below RUNTIME_DIRECTORY, else XDG_RUNTIME_DIR, where they are writable and not too long."""
        first, second = folder(self).parent, folder(self).parent
        far = folder(self) / ("long" * 30)
        far.mkdir(parents=True)
        for environ, expected in (
            ({"RUNTIME_DIRECTORY": f"{first}:/elsewhere", "XDG_RUNTIME_DIR": str(second)}, first),
            ({"RUNTIME_DIRECTORY": "/nowhere", "XDG_RUNTIME_DIR": str(second)}, second),
            ({"RUNTIME_DIRECTORY": str(far), "XDG_RUNTIME_DIR": str(second)}, second),
        ):
            home = self.home("", environ)
            self.assertEqual((Path(home.folder).parent, home.at, home.kept), (expected, home.folder, False))

    def test_life(self) -> None:
        """It is its user's alone, another one each time, and is gone with its node."""
        runtime = {"XDG_RUNTIME_DIR": str(folder(self).parent)}
        homes = [self.home("", runtime) for _ in range(2)]
        for home in homes:
            home.take()
            self.assertEqual(os.stat(home.folder).st_mode & 0o777, 0o700)
        self.assertNotEqual(homes[0].folder, homes[1].folder)
        for home in homes:
            home.leave()
        self.assertEqual(os.listdir(runtime["XDG_RUNTIME_DIR"]), [])

    def test_left_behind(self) -> None:
        """What a crash left is taken away by the next node; what somebody has, or is about to have, is not."""
        runtime = folder(self).parent
        environ = {"XDG_RUNTIME_DIR": str(runtime)}
        used = self.home("", environ)
        used.take()
        old, new, other = (runtime / name for name in (f"{PREFIX}old", f"{PREFIX}new", "other"))
        for place in (old, new, other):
            place.mkdir(mode=0o700)
        (old / "redis.sock").write_text("")
        past = time.time() - 2 * OLD
        for place in (old, other, Path(used.folder)):
            os.utime(place, (past, past))
        self.home("", environ).take()
        self.assertEqual([place.exists() for place in (old, new, other, Path(used.folder))], [False, True, True, True])
