"""Heimdall under a real systemd: installed, started, hung, restarted, misconfigured, given secrets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.booted import booted
from tests.redisserver import binary

CONFIGURED = """
[admit]
records = ["www.example 60 A 192.0.2.1"]
[fetch]
upstreams = ["192.0.2.53"]
[redis]
enabled = false
"""

# Says each line to the Redis of the service, and tells the replies.
REDIS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as redis:
    redis.settimeout(60)
    redis.connect("/var/lib/heimdall/redis/redis.sock")
    for line in sys.argv[1:]:
        redis.sendall(line.encode() + b"\\r\\n")
        print(redis.recv(4096).decode().split()[-1])
"""

# Asks over UDP until the file is there, and then 50 times more: one after the other, each once and for two minutes at
# most, so that nothing that is lost is hidden.
CLIENT = """
import os, socket, sys, time
query = bytes.fromhex("0100 0001 0000 0000 0000") + b"\\3www\\7example\\0\\0\\1\\0\\1"
asked = more = 0
while more < 50:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(120)
        client.connect(("127.0.0.1", 53))
        client.send(asked.to_bytes(2, "big") + query)
        reply = client.recv(512)
    assert reply[:2] == asked.to_bytes(2, "big") and reply.endswith(bytes((192, 0, 2, 1))), reply
    asked, more = asked + 1 & 0xFFFF, more + os.path.exists(sys.argv[1])
    time.sleep(0.005)
print("all answered")
"""


class Systemd(SynchronousTestCase):
    """One machine for all tests; each begins with the service stopped and configured as above."""

    def setUp(self) -> None:
        self.host = booted()
        self.run_there("systemctl", "stop", "heimdall.service", "heimdall.socket")
        self.run_there("rm", "-rf", "/etc/systemd/system/heimdall.service.d")
        self.run_there("systemctl", "daemon-reload")
        self.host.write("/etc/heimdall/heimdall.toml", CONFIGURED)

    def run_there(self, *command: str) -> str:
        """Run a command on the machine."""
        return self.host.run(*command)

    def start(self) -> None:
        """Start the service; it is ready when this returns."""
        self.run_there("systemctl", "daemon-reload")
        told = self.host.run("systemctl", "start", "heimdall.service", check=False)
        self.assertEqual(told, "", self.journal())

    def shown(self, *names: str) -> list[str]:
        """Return properties of the service."""
        told = self.run_there("systemctl", "show", "heimdall.service", *(f"--property={name}" for name in names))
        found = dict(line.split("=", 1) for line in told.splitlines())
        return [found[name] for name in names]

    def asked(self, *arguments: str) -> str:
        """Ask for www.example; return its address."""
        return self.run_there("dig", "+short", "+time=60", "+tries=1", *arguments, "www.example").strip()

    def journal(self) -> str:
        """Return what the service and systemd said of it."""
        return self.run_there("journalctl", "--no-pager", "--unit=heimdall.service")

    def await_true(self, what: Callable[[], object]) -> None:
        """Wait until something is true."""
        ends = time.monotonic() + 240
        while not what():
            self.assertLess(time.monotonic(), ends, self.journal())
            time.sleep(0.1)

    def meanwhile(self, script: str) -> None:
        """Run a script under steady questions, of which none may be lost."""
        script = f'rm -f /run/over; ({script}; touch /run/over) & python3 -c "$0" /run/over; wait'
        self.assertEqual(self.run_there("sh", "-c", script, CLIENT), "all answered\n")

    def test_life(self) -> None:
        """Enabled, it serves both families over UDP and TCP, as a user of its own, and says how it does."""
        self.run_there("systemctl", "enable", "--now", "heimdall.service")
        for at in ("@127.0.0.1", "@::1"):
            self.assertEqual((self.asked(at), self.asked(at, "+tcp")), ("192.0.2.1", "192.0.2.1"))
        state, pid, status = self.shown("ActiveState", "MainPID", "StatusText")
        self.assertEqual(state, "active")
        self.assertTrue(status.startswith("healthy: "), status)
        proc = self.run_there("cat", f"/proc/{pid}/status")
        self.assertNotIn("\nUid:\t0\t", proc)
        self.assertRegex(proc, r"\nCapBnd:\t0+\n")
        self.assertRegex(proc, r"\nNoNewPrivs:\t1\n")
        self.assertIn(" healthy ", self.run_there("heimdall", "members"))
        # Nobody is at the upstream of this test, so that not all that is checked is well.
        told = self.host.run("heimdall", "check", "--config", "/etc/heimdall/heimdall.toml", check=False)
        self.assertRegex(told, r"configuration +keys +ok ")
        self.run_there("systemctl", "stop", "heimdall.service")
        self.assertEqual(self.shown("Result", "ExecMainStatus"), ["success", "0"])
        self.assertNotRegex(self.journal(), "Traceback|Unhandled|Permission denied|not permitted")

    def test_exposure(self) -> None:
        """The systemd that runs it finds it exposed no more than the offline check does."""
        told = self.run_there("systemd-analyze", "security", "heimdall.service")
        found = re.search(r"exposure level for heimdall.service: ([0-9.]+)", told)
        assert found is not None, told
        self.assertLessEqual(float(found[1]), 2.0)

    def test_restart(self) -> None:
        """Restarted twice under steady questions, not one is lost: they wait in the sockets."""
        self.start()
        self.meanwhile("for _ in 1 2; do sleep 0.7; systemctl restart heimdall.service; done")
        self.assertEqual(self.journal().count("Stopped heimdall.service") >= 2, True)

    def test_reload(self) -> None:
        """Reloaded under steady questions, it takes the new configuration, loses none, and stays the same process."""
        self.start()
        (pid,) = self.shown("MainPID")
        self.host.write("/etc/heimdall/next.toml", CONFIGURED.replace("www.example 60", "www.example 61"))
        change = "cp /etc/heimdall/next.toml /etc/heimdall/heimdall.toml; systemctl reload heimdall.service"
        self.meanwhile(f"sleep 1; {change}; sleep 1")
        self.await_true(lambda: "\t61\t" in self.run_there("dig", "@127.0.0.1", "www.example"))
        self.assertEqual(self.shown("MainPID", "ActiveState", "SubState"), [pid, "active", "running"])
        self.host.write("/etc/heimdall/heimdall.toml", "[cache]\nmemory = 'much'\n")
        self.run_there("systemctl", "reload", "heimdall.service")
        self.await_true(lambda: "the old one goes on" in self.journal())
        self.assertEqual(self.asked("@127.0.0.1"), "192.0.2.1")

    def test_workers(self) -> None:
        """With two workers it serves, is reloaded and restarted as with one, and replaces one that was killed."""
        self.host.write("/etc/heimdall/heimdall.toml", "[accept]\nworkers = 2\n" + CONFIGURED)
        self.start()
        serving = "heimdall_workers_serving_processes 2.0"
        page = ("python3", "-c", "import urllib.request; print(urllib.request.urlopen("
                "'http://127.0.0.1:9053/metrics').read().decode())")  # fmt: skip
        self.await_true(lambda: serving in self.run_there(*page))
        self.meanwhile("for how in reload restart; do sleep 0.7; systemctl $how heimdall.service; done")
        group = "/sys/fs/cgroup/system.slice/heimdall.service/cgroup.procs"
        self.run_there("sh", "-c", f"kill -9 $(sed -n 2p {group})")
        self.await_true(lambda: "serves again" in self.journal())
        self.await_true(lambda: serving in self.run_there(*page))
        self.assertEqual(self.asked("@127.0.0.1"), "192.0.2.1")

    def test_hung(self) -> None:
        """A process that hangs is replaced, and who asked meanwhile is answered by the next one."""
        self.host.write("/etc/systemd/system/heimdall.service.d/soon.conf", "[Service]\nWatchdogSec=5\n")
        self.start()
        (pid,) = self.shown("MainPID")
        time.sleep(6)  # it lives longer than its watchdog without a sign of life would let it
        self.assertEqual(self.shown("MainPID"), [pid])
        self.run_there("kill", "-STOP", pid)
        self.assertEqual(
            self.run_there("dig", "+short", "+time=120", "+tries=1", "@127.0.0.1", "www.example"), "192.0.2.1\n"
        )
        self.assertNotEqual(self.shown("MainPID"), [pid])
        self.assertIn("Watchdog timeout", self.journal())

    def test_wrong(self) -> None:
        """A wrong configuration is said in one line; once it is right the service serves, and answers who waited."""
        self.host.write("/etc/heimdall/heimdall.toml", "[cache]\nmemory = 'much'\n")
        self.run_there("sh", "-c", "systemctl start heimdall.service || true")
        self.assertIn('file /etc/heimdall/heimdall.toml: cache.memory = "much": expected', self.journal())
        self.host.write("/etc/heimdall/heimdall.toml", CONFIGURED)
        self.assertEqual(
            self.run_there("dig", "+short", "+time=120", "+tries=1", "@127.0.0.1", "www.example"), "192.0.2.1\n"
        )

    def test_own_redis(self) -> None:
        """As installed it runs a Redis for itself, in its sandbox; what that holds is there after restart and crash."""
        binary()
        self.run_there("rm", "-rf", "/var/lib/private/heimdall", "/var/lib/heimdall")
        installed = (Path(__file__).parents[2] / "deploy" / "systemd" / "heimdall.toml").read_text()
        self.host.write("/etc/heimdall/heimdall.toml", installed)
        folder = "/var/lib/heimdall/redis"

        def redis(*lines: str) -> list[str]:
            return self.run_there("python3", "-c", REDIS, *lines).split()

        def serving() -> bool:
            told = self.host.run("python3", "-c", REDIS, "PING", check=False)
            return told == "+PONG\n"

        self.start()
        self.await_true(serving)
        self.assertIn(f"answers are kept in {folder}", self.journal())
        modes = self.run_there("stat", "-c", "%a", f"{folder}/", f"{folder}/redis.sock", f"{folder}/data").split()
        self.assertEqual(modes, ["700", "600", "700"])
        user = self.run_there("stat", "-c", "%u", f"{folder}/lock").strip()
        self.assertNotEqual(user, "0")
        self.assertEqual(redis("SET kept 1", "CONFIG GET port"), ["+OK", "0"])
        self.run_there("systemctl", "restart", "heimdall.service")
        self.await_true(serving)
        self.assertEqual(redis("GET kept", "SET kept 2"), ["1", "+OK"])
        (pid,) = self.shown("MainPID")
        self.run_there("kill", "-9", pid)
        self.await_true(lambda: self.shown("MainPID", "ActiveState") not in ([pid, "active"], ["0", "activating"]))
        self.await_true(serving)
        self.assertEqual(redis("GET kept"), ["2"])
        self.run_there("sh", "-c", f"kill -9 $(cat {folder}/redis.pid)")
        self.await_true(lambda: "The embedded Redis was killed by SIGKILL" in self.journal())
        self.await_true(serving)
        self.assertEqual(redis("GET kept"), ["2"])
        told = self.host.run("heimdall", "check", "--config", "/etc/heimdall/heimdall.toml", check=False)
        self.assertRegex(told, r"redis +embedded +ok +(Redis|Valkey) ")
        self.assertRegex(told, rf"redis +folder +note +process \d+ uses {folder}")
        self.run_there("systemctl", "stop", "heimdall.service")
        self.assertEqual(self.shown("Result", "ExecMainStatus"), ["success", "0"])
        self.assertNotRegex(self.journal(), "Traceback|Unhandled|Permission denied|not permitted")

    def test_secrets(self) -> None:
        """A password that only root may read reaches the service, and with it Redis."""
        self.host.write("/etc/heimdall/redis-password", "open sesame\n")
        for name in ("secret", "token"):
            self.host.write(f"/etc/heimdall/{name}", "0123456789abcdef0123456789abcdef\n")
        self.run_there("chmod", "600", "/etc/heimdall/redis-password", "/etc/heimdall/secret", "/etc/heimdall/token")
        dropped = (Path(__file__).parents[2] / "deploy" / "systemd" / "secrets.conf").read_text()
        self.host.write("/etc/systemd/system/heimdall.service.d/secrets.conf", dropped)
        shared = CONFIGURED.replace("enabled = false", 'url = "unix:///run/redis/redis.sock"')
        self.host.write("/etc/heimdall/heimdall.toml", shared)
        self.run_there("mkdir", "-p", "/run/redis")
        # It keeps nothing: another Redis of this machine would load it.
        redis = (
            *("--port", "0", "--save", "", "--unixsocket", "/run/redis/redis.sock", "--unixsocketperm", "777"),
            *("--requirepass", "open sesame"),
        )
        self.run_there("systemd-run", "--unit=shared", "--collect", binary(), *redis)
        self.addCleanup(self.run_there, "systemctl", "stop", "shared.service")
        self.start()
        self.await_true(lambda: "healthy" in self.run_there("heimdall", "members"))
        page = self.run_there("python3", "-c", "import urllib.request; print(urllib.request.urlopen("
                              "'http://127.0.0.1:9053/api/v1/members').read().decode())")  # fmt: skip
        self.assertIn('"shared": true', page)
        self.assertNotIn("open sesame", self.journal())
