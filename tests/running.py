"""A node in a process of its own, as an operator runs it: ``twistd -n heimdall`` from another folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdatatype

from tests.ports import free_port

NO_DNSPERF = None if shutil.which("dnsperf") else "no dnsperf here: apt-get install dnsperf"
"""Why tests with dnsperf are skipped, or None."""


PATIENCE = 120.0
"""Seconds that a node has to start or to end, on a machine with a lot of other work."""

TRIES = 3
"""Times that a node is started where somebody takes its port before it does."""

SHOWN = 2000
"""The characters of a log, its last, that an error shows: of a longer one those who run the tests may see no end."""

ROOT = Path(__file__).resolve().parent.parent


def constants(**values: Any) -> dict[str, str]:
    """Return variables of a process in which constants of modules have other values.

    :param values: by the names of module and constant, with ``__`` for each dot; for a function the arguments, as a
        mapping, that it is called with where it is not given others.
    """
    told = {f"heimdall.{name.replace('__', '.')}": value for name, value in values.items()}
    return {"PYTHONPATH": f"{ROOT}/tests/constants:{ROOT}", "TESTS_CONSTANTS": json.dumps(told)}


_LINK: dict[str, Any] = {"sharing__connect_to": {"slow": 5.0, "time_limit": 15.0, "silent": 30.0}}
_WAITS = _LINK | {"cache__assure__FROZEN": 30.0}
ANSWERING = {"HEIMDALL_FETCH_DEADLINE": "30"}
"""What has a node wait for its upstreams where no answer may be missing, on a machine that may be busy."""

_LIMITS = {"HEIMDALL_REDIS_READ_BUDGET": "10", **ANSWERING}

PATIENT = {**_LIMITS, **constants(**_WAITS)}
"""What has a node wait for Redis, and not call it a freeze when it stood still for a moment: for tests about where an
answer is from, on a machine that may be busy."""

FREEZING = {**_LIMITS, **constants(**_LINK, cache__assure__GRACE=60.0)}
"""The same for a node that will be frozen, and has more time to find its Redis again after that."""

CONFIRMING = {**PATIENT, **constants(**_WAITS, peers__inspect__WAIT=5.0, console__WAIT=5.0)}
"""The same for a node that also gives the others more time to reply."""

QUICK = {**PATIENT, **constants(**_WAITS, cache__hot__EVERY=1.0), "HEIMDALL_PEERS_HEARTBEAT": "0.5"}
"""The same for a node that tells every second what is hot, and twice as often that it lives: tests wait less for it."""


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has in use: what statm says may be megabytes off on many CPUs."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(told.partition("Rss:")[2].split()[0]) * 1024


class Running:
    """A node that serves on a free port of 127.0.0.1.

    :param arguments: more options of ``twistd heimdall``.
    :param environ: variables beside those of this process.
    :param before: a command to run it under, such as faketime.
    """

    def __init__(self, *arguments: str, environ: Mapping[str, str] | None = None, before: tuple[str, ...] = ()) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="heimdall-node-"))
        self._log = self._folder / "log"
        self._before, self._arguments = before, arguments
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEIMDALL_", "REDIS_"))}
        self._environ = {**clean, "PYTHONPATH": str(ROOT), **(environ or {})}
        self._start(TRIES)

    def _start(self, tries: int) -> None:
        """Start it on other ports where somebody has taken one of them meanwhile."""
        self.port, self.http = free_port(), free_port()
        self.process = self._run()
        try:
            self._wait()
        except BaseException:
            if tries == 1 or "another program uses the port" not in self.log:
                self.clean()
                raise
            self._log.unlink()
            self._start(tries - 1)

    def _run(self) -> subprocess.Popen[bytes]:
        command = [
            *self._before, sys.executable, "-m", "twisted", "--log-format=text", "heimdall",
            f"--listen=127.0.0.1:{self.port}", f"--http=127.0.0.1:{self.http}", *self._arguments,
        ]  # fmt: skip
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A command that it runs under may not pass signals on: then the whole group is sent them.
                process_group=0 if self._before else None,
            )

    def again(self) -> None:
        """Start it once more, as it was, after its end."""
        self.process = self._run()
        self._wait()

    def _wait(self) -> None:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends and self.process.poll() is None:
            try:
                if self.get("/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        code = self.process.poll()
        if code is None:
            self._send(signal.SIGKILL)
        ended = "still under way" if code is None else f"ended with code {code}"
        raise RuntimeError(f"the node did not start: {ended}; its log:\n{self.log[-SHOWN:]}")

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace")

    def trouble(self) -> list[str]:
        """Return the lines of the log that tell of an exception."""
        return [line for line in self.log.splitlines() if re.search("Traceback|Unhandled|#critical|Error:", line)]

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=120) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def members(self) -> dict[str, Any]:
        """Return what the API says of the cluster."""
        listed: dict[str, Any] = json.loads(self.get("/api/v1/members")[1])
        return listed

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric, added up over all values of the labels that are not given."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            found = re.fullmatch(rf"{name}(?:{{(.*)}})? ([0-9.e+-]+)", line)
            if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
                total += float(found[2])
        return total

    def ask(self, name: str, qtype: str = "A", *, tcp: bool = False, timeout: float = 120.0) -> dns.message.Message:
        """Ask it a question as a client does."""
        query = dns.message.make_query(name, qtype, use_edns=0)
        over = dns.query.tcp if tcp else dns.query.udp
        return over(query, "127.0.0.1", timeout=timeout, port=self.port)

    @property
    def resident(self) -> int:
        """Bytes of memory it has in use."""
        return resident(self.process.pid)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        if self.process.poll() is None:
            self._send(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGKILL)
            return self.process.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._before:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def clean(self) -> None:
        """End it and leave nothing behind."""
        self.end()
        shutil.rmtree(self._folder, ignore_errors=True)


class Dnsperf:
    """A load of questions for A records, under way from the start.

    :param names: what is asked, again and again as long as the options say.
    :param arguments: more options of dnsperf.
    """

    def __init__(self, port: int, names: list[str], *arguments: str) -> None:
        handle, path = tempfile.mkstemp(suffix=".queries")
        self._questions = Path(path)
        with os.fdopen(handle, "w") as questions:
            questions.writelines(f"{name} A\n" for name in names)
        command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", path, "-t", "60", *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def result(self) -> tuple[int, int, str]:
        """Wait for the end; return how many queries were sent, how many lost, and the response codes as told."""
        told, _ = self._process.communicate(timeout=600)
        self._questions.unlink()
        counts = {what: int(count) for what, count in re.findall(r"Queries (\w+): +(\d+)", told)}
        codes = re.search(r"Response codes: +(.*)", told)
        return counts["sent"], counts["lost"], codes[1] if codes else ""
