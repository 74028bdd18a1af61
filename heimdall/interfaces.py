"""Every seam of the house, and the errors that may cross one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Final, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Interface

from heimdall.message.answer import Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import Client, Query


class NoAnswer(Exception):
    """Nothing could be learnt: no upstream answered in time, or none of them knew.

    :ivar error: what a client may be told about it (RFC 8914).
    """

    def __init__(self, reason: str, error: ExtendedError) -> None:
        super().__init__(reason)
        self.error = error


Heard = Callable[[bytes], None]
"""What is called with each message on a channel of Redis."""


class LinkDown(Exception):
    """Redis could not be asked, or did not answer in time; the text says why."""


class Unanswered(Exception):
    """Another process of this node did not reply in time, is gone, or says that it cannot; the text says why."""


REFUSALS: Final = frozenset((
    "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "OOM", "READONLY",
))  # fmt: skip
"""The first words of errors that are about all of Redis, not about one command: the link to it tells of them."""

NO_REDIS: Final = "Redis is not in use"
"""Why a node knows of itself alone."""

NO_CLOCK: Final = "Redis was not reached so far, so its clock is not known"
"""Why nothing is shared by a node that has found no Redis since it started."""


class Drop:
    """What a gate says of a query that gets no reply at all."""


DROP: Final = Drop()


class Pass:
    """What a policy says that lets a query pass for a while.

    No tier of the cache keeps the answer longer, and no client is told a longer TTL.

    :param seconds: from now on; 0 for this query alone.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float = inf) -> None:
        self.seconds = seconds


class IPolicy(Interface):
    """A policy of a user's own: may this query pass?

    Beside ``judge`` it may have some of these, all of them optional:

    ``depends``      a set of words, what its verdict depends on: ``name``, the question and what the policy knows by
                     itself; ``client``, anything else about a query. Without it, ``name``.
    ``start(host)``  called once, before the first query comes, with an :class:`IHost`; may return a Deferred, which is
                     waited for
    ``stop()``       called once, behind the last query; may return a Deferred
    ``tallies``      what it counts
    """

    def judge(query: Query) -> Answer | Drop | Pass | None:
        """Judge a query, at once and without waiting.

        :return: the answer that ends it here; :data:`DROP` for silence; None to let it pass, and a :class:`Pass` to
            do so for a while.
        """


class IGate(IPolicy):
    """A policy as the path meets it: how long it lets a query pass is noted in the query."""

    def judge(query: Query) -> Answer | Drop | None:
        """Judge a query, at once and without waiting.

        :return: the answer that ends it here; :data:`DROP` for silence; None to let it pass.
        """


Judge = Callable[[Query], Answer | Drop | None]
"""What judges a query, as :class:`IGate` does."""


Passes = Callable[[Query], bool | None]
"""Says of a question that no client asks whether the policies would let one ask it; None when they cannot tell."""


class IHost(Interface):
    """The server, as a policy of a user's own sees it."""

    reactor: Any
    """Keeps time, and opens connections."""

    def changed(names: Iterable[str | bytes] | None = None) -> None:
        """Have names judged again: from now on no tier of any node gives what was learnt of them before.

        :param names: in presentation form, or as on the wire, each with all names below it. None for all names: then
            what the policies now let pass stays where it is.
        :raises ValueError: one of them is no domain name.
        """


class IClientGate(IGate):
    """A gate that looks at nothing but the client's address, and how much it asks: it is asked once for many queries.

    A query that is let pass this way is not judged.
    """

    def admit(client: Client, count: int) -> bool:
        """Let some more queries of a client pass, all or none.

        :param client: its address, as the socket gives it; the port is that of one of them.
        :return: whether they may pass. If not, nothing has changed, and each of them is judged by itself.
        """


class IAddressGate(IClientGate):
    """A gate that looks at the address alone, and never changes its mind: a client that may pass may be remembered."""


class ISource(Interface):
    """Whoever may know an answer: a cache, an upstream, another program's resolver."""

    def ask(query: Query) -> Deferred[Answer]:
        """Find the answer to a query.

        A response code is a value: SERVFAIL or NXDOMAIN from an upstream arrives as an answer. Cancelling the
        Deferred ends the work for it.

        :return: fires with the answer, or fails with :class:`NoAnswer`.
        """


class Ongoing(Protocol):
    """A question that somebody works at."""

    def cancel(self) -> object:
        """End the work: who asked is told a CancelledError, unless he has been told something."""


Told = Callable[[Answer | Failure], None]
"""What is called with what came of a question, once."""

Tell = Callable[[Query, Told], Ongoing]
"""What asks a question, as :class:`ITeller` does."""


Complete = Callable[[Answer, Query, Told], Ongoing]
"""What finds what an answer lacks that ends with an alias, as :meth:`heimdall.fetch.aliases.Aliases.complete` does."""


class ITeller(ISource):
    """A source that can call back as well, which costs less than a Deferred."""

    def tell(query: Query, told: Told) -> Ongoing:
        """Find the answer to a query.

        :param told: called with what the Deferred of ``ask`` would fire with; maybe before this returns.
        :return: what ends the work.
        """


class IHotCache(Interface):
    """The memory of this node. Times are seconds on the clock of the reactor."""

    def get(query: Query, now: float) -> tuple[Answer, bytes, int] | None:
        """Return what is fresh for a query: the answer, its records with the TTLs of this moment, and its place.

        The place is less than 0 when the answer was not given before in this second. Of the answer neither the
        records nor the question is to be used.
        """

    def again(place: int, body: bytes, now: float) -> bool:
        """Whether ``body``, which :meth:`get` gave from that place, is still what is to be given; if so, count it."""

    def held(query: Query, now: float) -> tuple[Answer, float, float] | None:
        """Return what is held for a query, be it stale: the answer, when it expires and when it is forgotten."""

    def put(query: Query, answer: Answer, now: float, dies: float | None = None) -> None:
        """Hold an answer for its TTL, and behind it for the stale window.

        :param dies: when to forget it at the latest, where that is known already.
        """

    def forget(key: bytes) -> None:
        """Forget what is held under one key."""


class Exchanging(Ongoing, Protocol):
    """A question that one server was asked.

    :ivar heard: when it first said something of it that was no whole answer; None before that.
    """

    heard: float | None


class IExchange(Interface):
    """The way to one server, over whatever transports it takes to get its whole answer."""

    def tell(query: Query, timeout: float, told: Callable[[Any], object]) -> Exchanging:
        """Ask a server.

        :param timeout: seconds.
        :param told: called with the answer, with a :class:`heimdall.fetch.judgement.Unusable`, or with a failure:
            :class:`NoAnswer` when nothing came in time. Maybe before this returns.
        :return: what gives the place up.
        """

    def close() -> None:
        """Close every socket; what is under way fails with :class:`NoAnswer`."""


class ITransport(Interface):
    """The way to one server over one transport: it sends a question, and waits for what comes."""

    def exchange(query: Query, form: int, timeout: float, on_reply: Callable[[Any], object]) -> Ongoing:
        """Send a question and wait for the reply that matches it in id, question, address and port.

        :param form: how to put it; see :func:`heimdall.message.query.write`.
        :param timeout: seconds.
        :param on_reply: called as in :meth:`IExchange.tell`, with what the one reply comes to.
        :return: what gives the place up.
        """

    def close() -> None:
        """Close every socket; what is under way fails with :class:`NoAnswer`."""


class ILink(Interface):
    """The connection to Redis."""

    up: bool
    """Whether it answers: False while it is away, refused us, or was too slow just now."""

    def run(*command: bytes | str | int) -> Deferred[object]:
        """Run one command. A call always ends.

        :return: fires with the reply (bytes, int, None or a list of these); fails with :class:`LinkDown` when
            Redis is not there, answers with an error, or takes too long.
        """

    def now() -> float | None:
        """Return the time on the clock of Redis, in seconds since 1970; None until it is known.

        Reckoned from its last TIME and our monotonic clock, so that no node's wall clock matters.
        """

    def doubt() -> float:
        """Return by how many seconds :meth:`now` may be wrong, either way."""

    scattered: bool
    """Whether keys live in several places."""

    def place(key: bytes) -> int:
        """Return where a key lives: keys of one place may travel in one command (a slot of Redis Cluster, else 0)."""

    def listen(channel: str, heard: Heard) -> None:
        """Call ``heard`` with each message on a channel from now on, whatever becomes of connections."""

    hearing: bool
    """Whether messages on all channels reach us now."""

    refusals: Sequence[str]
    """What Redis has just refused though we need it, in words: rights that its user lacks, or a state that it is in."""

    def watch(changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change of ``up`` or ``hearing``."""

    def close() -> Deferred[None]:
        """Disconnect and stay so."""


class INotices(Interface):
    """What nodes tell each other, through Redis. A notice may be lost; nothing may depend on one arriving."""

    token: bytes
    """The address of this node: eight bytes, drawn anew at each start."""

    hearing: bool
    """Whether notices reach us now."""

    def on(kind: bytes, heard: Callable[[bytes, bytes], None]) -> None:
        """Call ``heard`` with the sender's token and the payload of each notice of a kind (one byte).

        What we tell ourselves is not heard.
        """

    def tell(kind: bytes, payload: bytes, to: bytes | None = None) -> None:
        """Tell one node, by its token, or all; not waited for."""

    def channel(token: bytes | None) -> str:
        """Return the channel of Redis that a node listens on, or that of all; for scripts that publish there.

        A message there is kind, sender's token, payload.
        """


@frozen
class Member:
    """A node of the cluster as the registry lists it.

    ``last_heartbeat`` is in seconds since 1970 on the clock of Redis; ``status`` one of starting, healthy,
    degraded, unhealthy and leaving; ``stats`` numbers by name.
    """

    id: str
    hostname: str
    pod_ip: str
    last_heartbeat: float
    status: str
    stats: Mapping[str, float]


class IRegistry(Interface):
    """Who is in the cluster."""

    def beat() -> Deferred[None]:
        """Say that this node is alive, and how it is. Never fails."""

    def members() -> Deferred[Sequence[Member]]:
        """Return the nodes that are alive. Fails with :class:`LinkDown`."""

    def leave() -> Deferred[None]:
        """Take this node off the list. Never fails."""
