"""A load of questions: dnsperf, and what it found."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

CLIENTS: Final = 20
"""Sockets that the questions come from."""
OUTSTANDING: Final = 200
PATIENCE: Final = 1
"""Seconds after which a question is given up for lost."""

_COUNT: Final = re.compile(r"Queries (sent|completed|lost): +(\d+)")
_LATENCY: Final = re.compile(r"^> [A-Z]{2,} \S+ \S+ ([\d.]+)$", re.M)
_CODE: Final = re.compile(r"([A-Z]+) (\d+) \(")


@frozen
class Found:
    """What a load found: how many were asked, answered well and lost, the seconds it took, and each time waited."""

    sent: int
    answered: int
    lost: int
    seconds: float
    latencies: Sequence[float] = ()

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0


class Questions:
    """A file of questions for dnsperf, a context manager.

    :param lines: each a name and a type.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        handle, path = tempfile.mkstemp(suffix=".questions")
        with os.fdopen(handle, "w") as questions:
            questions.write("\n".join(lines) + "\n")
        self.path = Path(path)

    def __enter__(self) -> Questions:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink()


class Dnsperf:
    """A dnsperf that asks a server, from its start until :meth:`end`.

    :param seconds: how long; 0 for until the questions have all been asked once.
    :param once: ask no question twice.
    :param rate: questions a second; 0 for as many as it can.
    :param good: the response codes that count as an answer.
    :param timed: keep how long each waited.
    :param before: a command to run it under.
    """

    def __init__(
        self,
        port: int,
        questions: Questions,
        *options: str,
        seconds: float = 0.0,
        once: bool = False,
        rate: float = 0.0,
        good: Sequence[str] = ("NOERROR",),
        timed: bool = False,
        before: Sequence[str] = (),
    ) -> None:
        command = [*before, "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(questions.path)]
        command += ["-c", str(CLIENTS), "-q", str(OUTSTANDING), "-t", str(PATIENCE)]
        if seconds:
            command += ["-l", f"{seconds:g}"]
        if once or not seconds:
            command += ["-n", "1"]
        if rate:
            command += ["-Q", str(max(int(rate), 1))]
        self._good = good
        handle, path = tempfile.mkstemp(suffix=".dnsperf")
        self._told = Path(path)
        self._process = subprocess.Popen(
            [*command, *(["-v"] if timed else []), *options],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
        )
        os.close(handle)

    def end(self) -> Found:
        """Wait for its end, and return what it found."""
        code = self._process.wait(600)
        told = self._told.read_text()
        self._told.unlink()
        counts = {what: int(number) for what, number in _COUNT.findall(told)}
        ran = re.search(r"Run time \(s\): +([\d.]+)", told)
        if code or ran is None:
            raise RuntimeError(f"dnsperf did not work:\n{told[-2000:]}")
        codes = re.search(r"Response codes: +(.*)", told)
        answered = sum(int(number) for name, number in _CODE.findall(codes[1] if codes else "") if name in self._good)
        latencies = [float(took) for took in _LATENCY.findall(told)]
        return Found(counts["sent"], answered, counts["lost"], float(ran[1]), latencies)


def ask(port: int, lines: Sequence[str], *options: str) -> None:
    """Ask each question twice, and again while a few are not answered: some servers lose some when much is new.

    :raises RuntimeError: more than one of a hundred is not answered.
    """
    with Questions(lines) as questions:
        for turn in range(5):
            found = Dnsperf(port, questions, *options).end()
            if turn and found.answered == len(lines):
                return
    if found.answered < len(lines) * 0.99:
        raise RuntimeError(f"only {found.answered} of {len(lines)} questions were answered")
