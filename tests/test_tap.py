"""``twistd heimdall``: its options, its check, and how it refuses to start."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin, getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall import __version__
from heimdall.tap import Options
from tests.redisserver import wait_for

ROOT = Path(__file__).parents[1]
LOCALHOST = bytes.fromhex("abcd01000001000000000000") + b"\x09localhost\0\0\1\0\1"
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


def parsed(*arguments: str, environ: Mapping[str, str] | None = None) -> Options:
    """Return the options after parsing these arguments."""
    options = Options()
    options.environ = environ or {}
    options.parseOptions(list(arguments))
    return options


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def test_all(self) -> None:
        """Each option sets its key; --listen and --upstream may be given again."""
        options = parsed(
            *("--listen", "127.0.0.1:53", "--listen", "[::1]:53", "--upstream", "192.0.2.1", "--upstream=192.0.2.2:54"),
            *("--redis", "unix:///run/redis.sock", "--http", "127.0.0.1:80", "--node", "a", "--workers", "3"),
        )
        settings = options.loaded.settings
        self.assertEqual(settings.accept.listen, ("127.0.0.1:53", "[::1]:53"))
        self.assertEqual(settings.fetch.upstreams, ("192.0.2.1:53", "192.0.2.2:54"))
        self.assertEqual((settings.accept.workers, settings.redis.url), (3, "unix:///run/redis.sock"))
        self.assertEqual(settings.watch.http, "127.0.0.1:80")
        self.assertEqual(settings.peers.node, "a")

    def test_off(self) -> None:
        """--no-redis and --no-http do without."""
        settings = parsed("--no-redis", "--no-http", "--upstream", "192.0.2.1").loaded.settings
        self.assertFalse(settings.redis.enabled or settings.watch.enabled)

    def test_embedded(self) -> None:
        """--redis embedded has the node run a Redis for itself, with a folder or without, as a variable can too."""
        for arguments, environ, url in (
            (("--redis", "embedded"), {}, "embedded:"),
            (("--redis=embedded:/var/lib/redis",), {}, "embedded:/var/lib/redis"),
            ((), {"HEIMDALL_REDIS_URL": "embedded"}, "embedded:"),
        ):
            settings = parsed(*arguments, "--upstream", "192.0.2.1", environ=environ).loaded.settings
            self.assertEqual((settings.redis.url, settings.redis.enabled), (url, True))

    def test_environment(self) -> None:
        """An option beats the environment."""
        environ = {"HEIMDALL_PEERS_NODE": "b", "HEIMDALL_CACHE_MEMORY": "1MB"}
        loaded = parsed("--node", "a", "--upstream", "192.0.2.1", environ=environ).loaded
        self.assertEqual((loaded.settings.peers.node, loaded.settings.cache.memory), ("a", 1_000_000))

    def test_wrong(self) -> None:
        """A wrong configuration ends the process with a line for each fault; records and gates are looked at too."""
        environ = {"HEIMDALL_ADMIT_RECORDS": "a.example BROKEN x", "HEIMDALL_ADMIT_GATES": "no.such.module"}
        error = self.assertRaises(SystemExit, parsed, "--listen", "here", "--config", "/nowhere", environ=environ)
        lines = str(error.code).splitlines()
        self.assertEqual(len(lines), 4)
        for line, start in zip(
            lines,
            (
                "option --config: /nowhere cannot be read",
                "option --listen: accept.listen",
                "environment HEIMDALL_ADMIT_GATES: admit.gates",
                "environment HEIMDALL_ADMIT_RECORDS: admit.records",
            ),
            strict=True,
        ):
            self.assertTrue(line.startswith(start), line)

    def test_good_record(self) -> None:
        """A record that the server can read passes."""
        environ = {"HEIMDALL_ADMIT_RECORDS": "a.example 60 A 192.0.2.1"}
        self.assertEqual(len(parsed("--upstream", "192.0.2.1", environ=environ).loaded.settings.admit.records), 1)

    def test_misuse(self) -> None:
        """What is no option is a usage error."""
        self.assertRaises(UsageError, parsed, "--port", "53")
        self.assertIn("'53'", str(self.assertRaises(UsageError, parsed, "53")))

    def test_check(self) -> None:
        """--check prints the effective configuration and ends well."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        error = self.assertRaises(SystemExit, parsed, "--check", "--upstream", "192.0.2.1", "--redis", "redis://:pw@h")
        self.assertEqual(error.code, 0)
        shown = tomllib.loads(out.getvalue())
        self.assertEqual(shown["fetch"]["upstreams"], ["192.0.2.1:53"])
        self.assertEqual(shown["redis"]["url"], "redis://:***@h")
        self.assertIn("# option --upstream", out.getvalue())

    def test_version(self) -> None:
        """--version tells ours and that of Twisted."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertRaises(SystemExit, parsed, "--version")
        self.assertIn(f"Heimdall version: {__version__}\nTwisted version:", out.getvalue())

    def test_help(self) -> None:
        """The help says of each option what it does, and of those with a default which it is."""
        text = str(Options())
        for option in ("config", "listen", "upstream", "redis", "no-redis", "http", "no-http", "node", "check"):
            self.assertIn(f"--{option}", text)
        self.assertEqual(text.count("[default:"), 5)

    def test_plugin(self) -> None:
        """twistd finds us."""
        (ours,) = (plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "heimdall")
        verifyObject(IServiceMaker, ours)
        verifyObject(IPlugin, ours)
        self.assertIs(ours.options, Options)


def environment(**added: str) -> dict[str, str]:
    """Return the environment of a process: nothing of ours in it but what is given."""
    kept = {name: value for name, value in os.environ.items() if "HEIMDALL" not in name and "REDIS" not in name}
    return {**kept, "PYTHONPATH": str(ROOT), **added}


class ProcessTests(SynchronousTestCase):
    """Real processes that end by themselves."""

    def run_python(self, code: str, *arguments: str, **added: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a folder of its own and wait for its end."""
        folder = self.mktemp()
        os.makedirs(folder)
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            env=environment(**added),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_cheap(self) -> None:
        """Options and plugin are loaded without reactor, Redis client, metrics, or anything of the server."""
        code = (
            "import sys, heimdall.tap; heimdall.tap.Options(); sys.modules['twisted.internet.reactor'] = None\n"
            "bad = [name for name in sys.modules if name.startswith(('txredisapi', 'prometheus_client', 'dns.', "
            "'heimdall.accept', 'heimdall.cache', 'heimdall.fetch', 'heimdall.config', 'heimdall.pipeline'))]\n"
            "print(bad)"
        )
        self.assertEqual(self.run_python(code).stdout.strip(), "[]")

    def test_check(self) -> None:
        """``twistd -n heimdall --check`` ends with 0 and prints TOML, or with 1 and says on stderr what is wrong."""
        good = self.run_python(TWISTD, "-n", "heimdall", "--check", "--upstream", "192.0.2.1")
        self.assertEqual((good.returncode, good.stderr), (0, ""))
        self.assertEqual(tomllib.loads(good.stdout)["fetch"]["upstreams"], ["192.0.2.1:53"])
        bad = self.run_python(TWISTD, "-n", "heimdall", "--check", "--upstream", "dns.example", "--node", "a b")
        self.assertEqual((bad.returncode, bad.stdout), (1, ""))
        first, second = bad.stderr.splitlines()
        self.assertTrue(first.startswith("option --upstream: fetch.upstreams"))
        self.assertTrue(second.startswith("option --node: peers.node"))

    def test_wrong(self) -> None:
        """A wrong configuration starts nothing: the same lines, and status 1."""
        bad = self.run_python(TWISTD, "-n", "heimdall", "--http", "9053")
        self.assertEqual((bad.returncode, bad.stdout), (1, ""))
        (line,) = bad.stderr.splitlines()
        self.assertTrue(line.startswith('option --http: watch.http = "9053": expected HOST:PORT'))

    def test_address_in_use(self) -> None:
        """An address that cannot be had ends the process with one line and status 1, also as a daemon."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for arguments in (("-n",), ()):
                for option in ("--listen", "--http"):
                    other = "--no-http" if option == "--listen" else "--listen=127.0.0.1:0"
                    ended = self.run_python(
                        TWISTD, *arguments, "heimdall", option, address, other, "--upstream=192.0.2.1", "--no-redis"
                    )
                    self.assertEqual(ended.returncode, 1)
                    (line,) = ended.stderr.splitlines()
                    self.assertIn(f"cannot listen on {address}", line)

    def test_becomes_another_user(self) -> None:
        """A node that becomes another user is refused an embedded Redis at once, with the remedy; nothing is made."""
        folder = Path(self.mktemp()).absolute()
        for arguments in (("--check",), ()):
            ended = self.run_python(
                *(TWISTD, "-n", f"--uid={os.geteuid() + 12345}", "heimdall", f"--redis=embedded:{folder}"),
                *("--listen=127.0.0.1:0", "--no-http", "--upstream=192.0.2.1", *arguments),
            )
            (line,) = ended.stderr.splitlines()
            self.assertEqual((ended.returncode, line.startswith("redis.url: "), folder.exists()), (1, True, False))
            self.assertIn("cannot have an embedded Redis: start it as that user", line)

    def test_late_faults(self) -> None:
        """A policy that turns out to be none ends the start with one line, too."""
        ended = self.run_python(
            *(TWISTD, "-n", "heimdall", "--listen=127.0.0.1:0", "--no-http", "--no-redis", "--upstream=192.0.2.1"),
            HEIMDALL_ADMIT_GATES="collections.OrderedDict",
        )
        self.assertEqual(ended.returncode, 1)
        (line,) = ended.stderr.splitlines()
        self.assertIn("the configuration cannot be used: collections.OrderedDict", line)


class ServerTests(SynchronousTestCase):
    """Real servers, asked over real sockets."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self, *twistd: str, **added: str) -> subprocess.Popen[str]:
        """Start a server on our port, with an upstream that nobody is at, and end it with the test."""
        options = ("heimdall", "--no-redis", "--no-http", "--upstream=192.0.2.1", f"--listen=127.0.0.1:{self.port}")
        started = subprocess.Popen(
            [sys.executable, "-c", TWISTD, *twistd, *options],
            cwd=self.folder,
            env=environment(**added),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(started.communicate)
        self.addCleanup(started.kill)
        return started

    def ask(self) -> bytes:
        """Ask for the address of localhost until there is an answer; return it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.connect(("127.0.0.1", self.port))
            answers: list[bytes] = []

            def answered() -> bool:
                client.send(LOCALHOST)
                answers.append(client.recv(512))
                return True

            wait_for(answered)
            return answers[0]

    def end(self, process: subprocess.Popen[str]) -> str:
        """End a server with SIGTERM; return what it printed, once its status is found to be 0."""
        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=120)
        self.assertEqual((process.returncode, errors), (0, ""))
        return printed

    def test_serve(self) -> None:
        """It answers, logs text on standard output, and ends with status 0 on SIGTERM."""
        process = self.start("-n")
        self.assertTrue(self.ask().endswith(bytes((127, 0, 0, 1))))
        printed = self.end(process)
        self.assertIn(f"Serving DNS on 127.0.0.1:{self.port}", printed)
        self.assertIn("SIGTERM: ending", printed)

    def test_json(self) -> None:
        """With the log in JSON, every line from the first to the last is an object."""
        process = self.start("-n", HEIMDALL_WATCH_LOG="json", HEIMDALL_FETCH_UPSTREAM="x")
        self.ask()
        entries = [json.loads(line) for line in self.end(process).splitlines()]
        self.assertTrue(all(set(entry) == {"time", "level", "from", "event"} for entry in entries))
        warnings = [entry["event"] for entry in entries if entry["level"] == "warn"]
        self.assertEqual(
            warnings, ["environment HEIMDALL_FETCH_UPSTREAM sets nothing; did you mean HEIMDALL_FETCH_UPSTREAMS?"]
        )

    def test_statistics(self) -> None:
        """SIGUSR1 logs the statistics; with the log in JSON, programs can read the numbers."""
        process = self.start("-n", HEIMDALL_WATCH_LOG="json")
        self.ask()
        process.send_signal(signal.SIGUSR1)
        told = [entry for entry in map(json.loads, self.end(process).splitlines()) if "statistics" in entry]
        self.assertEqual(len(told), 1)
        statistics = told[0]["statistics"]
        self.assertGreater(statistics["queries"]["udp"], 0)
        self.assertEqual(statistics["rcodes"], {"noerror": statistics["queries"]["udp"]})
        self.assertEqual((statistics["status"], statistics["redis"]), ("healthy", None))
        self.assertEqual([server["server"] for server in statistics["upstreams"]], ["192.0.2.1:53"])
        self.assertIn("Statistics: healthy", told[0]["event"])

    def test_daemon(self) -> None:
        """As a daemon it answers, logs into the file it was given, and ends on SIGTERM."""
        process = self.start("--logfile=log", "--pidfile=pid", HEIMDALL_WATCH_LOG="json")
        printed, errors = process.communicate(timeout=120)
        self.assertEqual((process.returncode, printed, errors), (0, "", ""))
        number = int((self.folder / "pid").read_text())
        self.addCleanup(end_daemon, number)
        self.assertTrue(self.ask().endswith(bytes((127, 0, 0, 1))))
        log = self.folder / "log"
        os.kill(number, signal.SIGUSR1)
        wait_for(lambda: "Statistics: " in log.read_text(), 120)
        os.kill(number, signal.SIGTERM)
        wait_for(lambda: "Server Shut Down." in log.read_text(), 120)
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual(entries[-1]["event"], "Server Shut Down.")
        self.assertFalse((self.folder / "pid").exists())


def end_daemon(number: int) -> None:
    """Kill a process that may have ended long ago."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
