"""A systemd of its own, process 1 in namespaces of its own, over a copy of this machine's files."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.deploy.making import make
from tests.house.tree import ROOT
from tests.redisserver import _end_with_parent as end_with_parent

INIT = "/lib/systemd/systemd"

BOOT = """
set -eu
umask 022
folder=$1 tree=$2 lent=$3
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
cp -a "$tree/." "$folder/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mkdir -p opt/heimdall/lent
mount --bind "$lent" opt/heimdall/lent
mount -o remount,bind,ro opt/heimdall/lent
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for place in run tmp var/log dev; do mount -t tmpfs -o mode=755 tmpfs $place; done
chmod 1777 tmp
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance devpts dev/pts
ln -s pts/ptmx dev/ptmx
ip link set lo up
# Of this machine's own services none.
rm -rf etc/systemd/system/*.wants etc/systemd/system/heimdall.service.d
rm -f etc/machine-id
echo 0123456789abcdef0123456789abcdef >etc/machine-id
# Without a file system of its own as root, process 1 could give no service a user namespace.
mkdir -p mnt
pivot_root . mnt
cd /
umount -l mnt
# As a container's keeper does it: what systemd mounts for a service reaches that service.
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin "$4" --system --unit=basic.target --show-status=false
"""


@cache
def _booted() -> Booted | str:
    """Return the machine that all tests of this process share, or why there is none."""
    try:
        host = Booted()
    except SkipTest as reason:
        return str(reason)
    atexit.register(host.end)
    return host


def booted() -> Booted:
    """Return the machine that all tests of this process share.

    :raises SkipTest: there is no way to have one here; the text says why.
    """
    host = _booted()
    if isinstance(host, str):
        raise SkipTest(host)
    return host


class Booted:
    """A machine with Heimdall installed by ``make install``; what the tests use of Python packages is lent to it.

    :raises SkipTest: there is no way to have one here; the text says why.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="heimdall-booted-"))
        self._group: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            _check()
            self._boot()
        except BaseException:
            self.end()
            raise

    def _boot(self) -> None:
        tree = self._folder / "tree"
        make("install", tree)
        self._group = _cgroup() / f"heimdall-{os.getpid()}-{self._folder.name}"
        try:
            self._group.mkdir()
        except OSError as error:
            raise SkipTest(f"no control group can be made here: {error}") from None
        (self._folder / "root").mkdir()
        lent = sysconfig.get_path("purelib")
        enter = f"echo $$ >{self._group}/cgroup.procs; exec unshare -m -p -n -u -i -C --fork --kill-child "
        self._log = self._folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f'{enter} sh -c "$0" boot "$@"', BOOT, str(self._folder / "root"), str(tree), lent, INIT],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )
        self._await_init()

    def _await_init(self) -> None:
        assert self._process is not None
        ends = time.monotonic() + 180
        while time.monotonic() < ends and self._process.poll() is None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            if children:
                self._init = children[0]
                try:
                    if self.run("systemctl", "is-system-running", check=False).strip() == "running":
                        self.lend("/opt/heimdall", "/opt/heimdall/lent")
                        return
                except subprocess.TimeoutExpired:
                    pass
            time.sleep(0.2)
        raise SkipTest(f"systemd does not start in namespaces here: {self._log.read_text(errors='replace')}")

    @property
    def _enter(self) -> list[str]:
        """What a command there begins with."""
        return ["nsenter", "-t", self._init, "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"]

    def run(self, *command: str, check: bool = True, stdin: str = "") -> str:
        """Run a command there, to its end; return what it prints.

        :raises AssertionError: it failed, and that is looked at.
        """
        done = subprocess.run(
            [*self._enter, "env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *command],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
            umask=0o022,
        )
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("sh", "-c", 'cat >"$0"', path, stdin=text)

    def send(self, folder: str, names: Sequence[str]) -> None:
        """Copy files and folders of this checkout into a folder there."""
        packed = subprocess.run(
            ["tar", "-C", ROOT, "--exclude=__pycache__", "--exclude=dropin.cache", "-cf", "-", *names],
            stdout=subprocess.PIPE,
            check=True,
        )
        subprocess.run([*self._enter, "tar", "-C", folder, "-xf", "-"], input=packed.stdout, check=True)

    def lend(self, prefix: str, lent: str) -> None:
        """Let a virtual environment there use packages that it does not hold, and have the twistd of one of them."""
        self.run("sh", "-euc", f"echo {lent} >$(echo {prefix}/lib/python3*/site-packages)/lent.pth")
        self.write(f"{prefix}/bin/twistd", f"#!{prefix}/bin/python\nfrom twisted.scripts.twistd import run\n\nrun()\n")
        self.run("chmod", "755", f"{prefix}/bin/twistd")

    def end(self) -> None:
        """Switch it off, and leave nothing behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._group is not None:
            for _ in range(100):
                groups = sorted([self._group, *self._group.rglob("*/")], reverse=True)
                try:
                    for group in groups:
                        if group.is_dir():
                            group.rmdir()
                    break
                except OSError:  # its last processes are on their way out
                    time.sleep(0.1)
        shutil.rmtree(self._folder, ignore_errors=True)


def _check() -> None:
    """Raise SkipTest where it is known that no systemd can be booted."""
    if os.geteuid():
        raise SkipTest("only root can boot a systemd in namespaces")
    for program in (INIT, "unshare", "nsenter", "ip", "dig"):
        if not shutil.which(program):
            raise SkipTest(f"no {program} here: apt-get install systemd util-linux iproute2 bind9-dnsutils")


def _cgroup() -> Path:
    """Return where the control groups of version 2 are."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    raise SkipTest("no control groups of version 2 that can be written to")
