"""Run three nodes and one Redis on this machine, to see what a cluster does: ``python -m heimdall.local_cluster``."""

from __future__ import annotations

import os
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from attrs import define
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater, react
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner

from heimdall.redis_server.child import Child, ask
from heimdall.redis_server.embedded import EmbeddedRedis
from heimdall.redis_server.home import Home
from heimdall.redis_server.program import MISSING, find

NAMES: Final = ("one", "two", "three")

HOST: Final = "127.0.0.1"

MEMORY: Final = 64_000_000
"""Bytes that Redis may take."""

PAUSE: Final = 10.0
"""Seconds before a node that ended is started again: long enough to see that it is missed by nobody."""

ENDS: Final = 10.0
"""Seconds that a node has to end."""

STEP: Final = 0.1
"""Seconds between two looks whether a node is ready."""

SHOWN: Final = 2000
"""Characters of the log, its last, that are shown of a node that does not start."""

TRIES: Final = """\
Three nodes serve here, and keep what they learn in one Redis; Ctrl-C ends all of it.

{nodes}

Five things to try, in another terminal, in this folder:

1. Ask one, and find it at the next: there it comes from Redis, and no upstream is asked.
   {heimdall} --server {one} ask www.example.com
   {heimdall} --server {two} ask www.example.com

2. Flush a name everywhere: in the memory of each node, and in Redis.
   {heimdall} --server {one} flush www.example.com
   {heimdall} --server {three} inspect www.example.com

3. Kill a node: the others go on with what it knew. It is started again {pause:g} seconds later.
   kill -9 $(cat {folder}/three.pid)
   {heimdall} --server {one} members

4. Kill Redis: all nodes go on, and it is started again at once, with all that it held.
   kill -9 $(cat {folder}/redis.pid)
   {heimdall} --server {two} ask www.example.com

5. Look at the page meanwhile: http://{one}/

What the nodes say is in {folder}/one.log, two.log and three.log.
"""


class Failed(Exception):
    """The cluster cannot be started; the text says why."""


@define
class Place:
    """One node: its name, and the ports of 127.0.0.1 for DNS and HTTP."""

    name: str
    dns: int
    http: int


class LocalCluster:
    """Three nodes, each a process, and the Redis that they share.

    :param folder: where Redis, the logs and the numbers of the processes are kept.
    :param options: of ``twistd heimdall``, for each node.
    """

    def __init__(self, reactor: Any, places: Sequence[Place], folder: Path, options: Sequence[str]) -> None:
        self._reactor, self._places, self._folder, self._options = reactor, places, folder, options
        self._nodes: dict[str, Child] = {}
        self._redis: EmbeddedRedis | None = None
        self._serving = self._ending = False
        self._over: Deferred[None] = Deferred()

    async def run(self) -> None:
        """Start all, say what to try, and go on until this process is told to end.

        :raises Failed: something does not start.
        """
        self._reactor.addSystemEventTrigger("before", "shutdown", self._end)
        program = find()
        if not program:
            raise Failed(MISSING)
        home = Home(str(self._folder), os.environ)
        try:
            home.take(patience=ENDS)
        except (ValueError, OSError) as error:
            raise Failed(str(error)) from None
        for place in self._places:  # who has a port would answer for the node
            _check(place.dns, "--dns-port")
            _check(place.http, "--http-port")
        self._redis = EmbeddedRedis(self._reactor, program, home, MEMORY)
        await self._redis.start()
        for place in self._places:
            self._start(place)
        for place in self._places:
            await self._ready(place)
        self._serving = True
        print(self._text(), flush=True)
        await self._over

    def _start(self, place: Place) -> None:
        if self._ending or self._redis is None:
            return
        command = [
            sys.executable, "-m", "twisted", "--log-format=text", "heimdall", *self._options, f"--node={place.name}",
            f"--listen={HOST}:{place.dns}", f"--http={HOST}:{place.http}", f"--redis=unix://{quote(self._redis.home.socket)}",
        ]  # fmt: skip
        node = self._nodes[place.name] = Child(self._reactor, lambda _: self._ended(place))
        with self._log(place).open("wb") as log:
            node.spawn(command, os.environ, {1: log.fileno(), 2: log.fileno()})
        (self._folder / f"{place.name}.pid").write_text(f"{node.process}\n")

    async def _ready(self, place: Place) -> None:
        """Wait until a node is ready.

        :raises Failed: it ended.
        """
        endpoint = TCP4ClientEndpoint(self._reactor, HOST, place.http)
        node = self._nodes[place.name]
        while not node.answered:
            if node.gone:
                raise Failed(f"node {place.name} {node.why}\n{self._log(place).read_text(errors='replace')[-SHOWN:]}")
            with suppress(Exception):  # it does not listen yet
                reply = await ask(self._reactor, endpoint, b"GET /ready HTTP/1.0\r\n\r\n", 1.0)
                node.answered = b" 200 " in reply
            await deferLater(self._reactor, STEP)

    def _ended(self, place: Place) -> None:
        """Start a node again, once all have served."""
        if self._serving and not self._ending:
            print(f"Node {place.name} {self._nodes[place.name].why}; it is started again in {PAUSE:g} s", flush=True)
            self._reactor.callLater(PAUSE, self._again, place)

    def _again(self, place: Place) -> None:
        self._start(place)
        serving = Deferred.fromCoroutine(self._ready(place))
        serving.addCallback(lambda _: print(f"Node {place.name} serves again", flush=True))
        serving.addErrback(lambda failure: failure.trap(Failed) and None)  # it was told that it ended

    async def _stopped(self) -> None:
        await DeferredList([node.end(ENDS) for node in self._nodes.values()])
        if self._redis is not None:
            await self._redis.stop()

    def _end(self) -> Deferred[None]:
        """End all; fires when that is done."""
        self._ending = True
        return Deferred.fromCoroutine(self._stopped())

    def _log(self, place: Place) -> Path:
        return self._folder / f"{place.name}.log"

    def _text(self) -> str:
        one, two, three = (f"{HOST}:{place.http}" for place in self._places)
        return TRIES.format(
            nodes="\n".join(self._lines()), one=one, two=two, three=three, pause=PAUSE, folder=_short(self._folder),
            heimdall=_short(Path(sys.executable).with_name("heimdall")),
        )  # fmt: skip

    def _lines(self) -> Iterator[str]:
        for place in self._places:
            yield f"   {place.name:5}  DNS {HOST}:{place.dns}  page http://{HOST}:{place.http}/"


def _say(event: LogEvent) -> None:
    """Print what there is to say of Redis."""
    if str(event.get("log_namespace", "")).startswith("heimdall"):
        print(formatEvent(event), flush=True)


def _check(port: int, option: str) -> None:
    """Look whether a node can listen on a port.

    :raises Failed: it cannot.
    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise Failed(f"cannot listen on {HOST}:{port}: {why}; take other ports with {option}") from None


def _short(path: Path) -> str:
    """Return a path as it is written in this folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


async def main(reactor: Any, *arguments: str) -> None:
    """Run the cluster.

    :param arguments: of the command line.
    """
    parser = ArgumentParser("python -m heimdall.local_cluster", description=__doc__, allow_abbrev=False)
    parser.add_argument("--folder", type=Path, required=True, help="where Redis and the logs are kept")
    parser.add_argument("--dns-port", type=int, default=1053, help="the first of three ports for DNS (1053)")
    parser.add_argument("--http-port", type=int, default=9053, help="the first of three ports for HTTP (9053)")
    ours, options = parser.parse_known_args(arguments)
    reactor.seconds = time.monotonic  # the wall clock may leap
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, _say)], redirectStandardIO=False)
    places = [Place(name, ours.dns_port + at, ours.http_port + at) for at, name in enumerate(NAMES)]
    try:
        await LocalCluster(reactor, places, ours.folder.absolute(), options).run()
    except Failed as error:
        raise SystemExit(f"The cluster cannot be started: {error}") from None


if __name__ == "__main__":
    react(main, sys.argv[1:])
