"""Redis Cluster as one link: a connection to each master, and each command to the one that has its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, FirstError, fail, gatherResults
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.interfaces import Heard, ILink, LinkDown
from heimdall.redislink.atlas import URGENT, Atlas
from heimdall.redislink.clock import Time
from heimdall.redislink.ear import Ear
from heimdall.redislink.errand import errand
from heimdall.redislink.gone import Gone
from heimdall.redislink.greeting import Login
from heimdall.redislink.ledger import Ledger
from heimdall.redislink.link import Link
from heimdall.redislink.slots import EVERYWHERE, SPLIT, Node, key_of, read_redirect, slot, together, word
from heimdall.redislink.watchers import Watchers
from heimdall.tally import Count, Tally

PATIENCE: Final = 1.0
"""Seconds that a node gets to show the map to somebody who is not connected to it."""


@implementer(ILink)
class Cluster:
    """All masters of a Redis Cluster.

    A master that is away is a miss for the keys it has, and for no others. ``MGET``, ``DEL`` and their like may be
    about keys of many places; any other command goes where its first key is.

    :param seeds: some nodes of the cluster, masters or not.
    :param to: makes the way to a node.
    :param clock_key: the master that has this key tells the time.
    :param settings: as of :class:`Link`, of each connection.
    """

    def __init__(
        self,
        clock: IReactorTime,
        seeds: Sequence[Node],
        to: Callable[[str, int], IStreamClientEndpoint],
        login: Login,
        *,
        shown: str = "Redis Cluster",
        clock_key: bytes = b"",
        ledger: Ledger | None = None,
        **settings: Any,
    ) -> None:
        self.up, self.scattered = False, True
        self._clock, self._to = clock, to
        self._clock_slot = slot(clock_key)
        self._time: Time | None = None
        self._closed = False
        self._was = (False, False)
        self._watchers = Watchers(clock)
        self._ledger = ledger or Ledger()
        self._redirects = Count("heimdall_redislink_redirects_total", "Commands sent on to another node.", "kind")

        def connect(node: Node) -> Link:
            at = f"{shown}, node {node[0]}:{node[1]}"
            return Link(clock, to(*node), login, shown=at, ledger=self._ledger, **settings)

        def ask(node: Node) -> Deferred[object]:
            return errand(clock, to(*node), login, PATIENCE, "CLUSTER", "SLOTS")

        self._atlas = Atlas(clock, seeds, shown=shown, connect=connect, ask=ask, changed=self._judge)
        self._ear_at: Node | None = None
        self._ear = Ear(
            clock,
            _Somewhere(self._way_to_hear),
            login,
            changed=self._judge,
            lonely=lambda: not self.up,
            shown=shown,
            ledger=self._ledger,
        )
        self.tallies: list[Tally] = [*self._ledger.tallies(self, clock.seconds), self._redirects, *self._atlas.tallies]

    @property
    def hearing(self) -> bool:
        """Whether messages on all channels reach us now: each node hears what is published at any."""
        return self._ear.hearing

    @property
    def refusals(self) -> Sequence[str]:
        """What Redis has just refused, in words."""
        return [each.text for each in self._ledger.refusals(self._clock.seconds())]

    def start(self) -> None:
        """Connect, and from now on stay connected."""
        self._atlas.start()
        self._ear.start()

    def run(self, *command: bytes | str | int) -> Deferred[object]:
        """Run one command where its first key is; fires with the reply, or fails with :class:`LinkDown`."""
        key = key_of(command)
        if key is None:
            return self._run_keyless(command)
        name = word(command[0]).upper()
        if name == b"SCAN":
            return self._scan(word(command[1]), command[2:])
        if name in SPLIT and len(command) > 2:
            places = together([word(part) for part in command[1:]])
            if len(places) > 1:
                return self._split(name, places)
        return self._at(self._atlas.masters[slot(key)], command)

    def now(self) -> float | None:
        """Return the time on the clock of one master, in seconds since 1970; None until it was read once."""
        time = self._read()
        return None if time is None else time.now(self._clock.seconds())

    def doubt(self) -> float:
        """Return by how many seconds that may be wrong, either way."""
        time = self._read()
        return 0.0 if time is None else time.doubt(self._clock.seconds())

    def place(self, key: bytes) -> int:
        """Return the slot of a key."""
        return slot(key)

    def listen(self, channel: str, heard: Heard) -> None:
        """Call ``heard`` with each message on a channel from now on, whatever becomes of connections."""
        self._ear.listen(channel, heard)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change of ``up`` or ``hearing``."""
        self._watchers.add(changed)

    def close(self) -> Deferred[None]:
        """Disconnect and stay so; fires when all connections are gone."""
        self._closed = True
        closing = [self._ear.close(), *self._atlas.close()]
        self._judge()
        return gatherResults(closing).addCallback(lambda _: None)

    # Running.

    def _read(self) -> Time | None:
        """Return what is known of the clock of that master; when it is away, what was known last."""
        node = self._atlas.masters[self._clock_slot]
        known = self._atlas.links[node].time if node in self._atlas.links else None
        self._time = known or self._time
        return self._time

    def _at(self, node: Node | None, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        if node is None:
            self._ledger.commands.add("down")
            return fail(LinkDown(self._atlas.lost or "no node is known to have this key"))
        return self._atlas.links[node].run(*command).addErrback(self._redirected, node, command)

    def _redirected(
        self, failure: Failure, node: Node, command: tuple[bytes | str | int, ...]
    ) -> Failure | Deferred[object]:
        failure.trap(LinkDown)
        text = str(failure.value)
        redirect = read_redirect(text, node)
        if redirect is None or self._closed:
            if text.startswith("CLUSTERDOWN"):
                self._atlas.hurry(URGENT)
            return failure
        kind, number, other = redirect
        link = self._atlas.link_to(other)
        if link is None:
            return failure
        self._redirects.add(kind.lower())
        if kind == "MOVED":
            self._atlas.masters[number] = other
            self._atlas.hurry()
        else:
            link.run("ASKING").addErrback(lambda _: None)  # what follows fails as well
        return link.run(*command)

    def _run_keyless(self, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        name = word(command[0]).upper()
        up = [node for node, link in self._atlas.links.items() if link.up]
        if name in EVERYWHERE and up:
            return gatherResults([self._at(node, command) for node in up], consumeErrors=True).addCallbacks(
                lambda replies: replies[0], _first
            )
        # A channel's messages keep their order, and the time is that of one clock.
        node = self._atlas.masters[self._clock_slot if name == b"TIME" or len(command) < 2 else slot(word(command[1]))]
        return self._at(node if node in up or not up else up[0], command)

    def _split(self, name: bytes, places: dict[int, list[tuple[int, bytes]]]) -> Deferred[object]:
        """Run a command about keys of many places, a part at each."""
        running = [
            self._at(self._atlas.masters[number], (name, *(key for _, key in keys))) for number, keys in places.items()
        ]

        def joined(replies: list[Any]) -> object:
            if name != b"MGET":
                return sum(replies)
            values = {
                at: value
                for keys, reply in zip(places.values(), replies, strict=True)
                for (at, _), value in zip(keys, reply, strict=True)
            }
            return [values[at] for at in range(len(values))]

        return gatherResults(running, consumeErrors=True).addCallbacks(joined, _first)

    def _scan(self, cursor: bytes, options: tuple[bytes | str | int, ...]) -> Deferred[object]:
        """Go on with a SCAN, one master after the other: our cursor is map, master and its cursor."""
        nodes = sorted({node for node in self._atlas.masters if node is not None})
        generation, at, inner = (
            cursor.split(b".") if cursor.count(b".") == 2 else (b"%d" % self._atlas.edition, b"0", b"0")
        )
        if generation != b"%d" % self._atlas.edition or not at.isdigit() or int(at) >= len(nodes):
            return fail(LinkDown("the cluster is not the one that this SCAN began in"))

        def scanned(reply: object) -> object:
            match reply:
                case [bytes(following), list(keys)]:
                    if following != b"0":
                        return [b".".join((generation, at, following)), keys]
                    last = int(at) + 1 >= len(nodes)
                    return [b"0" if last else b"%s.%d.0" % (generation, int(at) + 1), keys]
            raise LinkDown("SCAN was answered with rubbish")

        return self._at(nodes[int(at)], ("SCAN", inner, *options)).addCallback(scanned)

    # Its state.

    def _way_to_hear(self) -> IStreamClientEndpoint:
        self._ear_at = self._atlas.some()
        return self._to(*self._ear_at)

    def _judge(self) -> None:
        links = self._atlas.links
        if self._ear_at is not None and self.up and self._ear_at not in links:
            self._ear_at = None
            self._ear.again(Gone("switched", "it is no master any more"))
        self.up = not self._closed and any(link.up for link in links.values())
        if self._was != (self.up, self.hearing):
            self._was = (self.up, self.hearing)
            self._watchers.tell()


@implementer(IStreamClientEndpoint)
class _Somewhere:
    """A way that is another one each time."""

    def __init__(self, way: Callable[[], IStreamClientEndpoint]) -> None:
        self._way = way

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Take it."""
        return self._way().connect(protocolFactory)


def _first(failure: Failure) -> Failure:
    """Return what went wrong first, where several things were done at once."""
    failure.trap(FirstError)
    return cast(FirstError, failure.value).subFailure
