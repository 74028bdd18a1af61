"""The workers of a node, as one: started, watched, restarted, asked and told together."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.accept.sockets import Bound
from heimdall.admit.lifecycle import STOP
from heimdall.bugs import reporter
from heimdall.cache.flushed import Flush
from heimdall.cache.heavy_hitters import from_json
from heimdall.cache.ranks import Row
from heimdall.cache.ranks import number as number_of
from heimdall.collector import tidy
from heimdall.config.load import Loaded
from heimdall.config.settings import Settings
from heimdall.interfaces import Unanswered
from heimdall.message.query import Query
from heimdall.node import Node, name_of
from heimdall.node_redis import ENDING, embedded, served
from heimdall.peers.inspect import NO_FLUSH, Told
from heimdall.pipeline import Lists, Path, lay, lists
from heimdall.station import LAST_WORDS, linked
from heimdall.tally import Count, Gauge, Tally
from heimdall.totals import Past
from heimdall.workers.carry import Carriers
from heimdall.workers.cores import Cores
from heimdall.workers.hand import HUNG, SILENT, START, Hand
from heimdall.workers.shares import share, to_json

LOOK: Final = 1.0
"""Seconds between two looks at each worker."""

FRESH: Final = 0.5
"""Seconds that a scrape waits for what the workers count now; past that it shows what they told last."""

HELD: Final = 0.7
"""Seconds that they have to tell what they hold: less than the other nodes wait for us."""

COUNTED: Final = 1.0
"""Seconds that they have to tell what they are asked for most."""

SETTLED: Final = 10.0
"""Seconds after which a worker that ends is started again at once."""

SHORTEST: Final = 0.1
"""Seconds to wait before one that ended sooner is started again; each time twice as long, up to ``LONGEST``."""

LONGEST: Final = 10.0

NOTHING: Final = Lists(None, None)
"""The parent answers nobody: it reads no lists."""


class Crew:
    """Does the work of a node with processes.

    This process serves nobody. It has the link to Redis that the node speaks over: for its place on the list of nodes,
    its flushes, its replies.

    :param sets: the sockets, one set for each worker. They stay open here: what waits in those of a worker that died
        is not lost.
    :param name: what the node is called where the configuration does not say.
    :param environ: the environment for the workers.
    """

    _log = Logger()

    def __init__(
        self, settings: Settings, reactor: Any, sets: Sequence[Sequence[Bound]], name: str, environ: Mapping[str, str]
    ) -> None:
        self.bound = tuple(sets[0])
        self._reactor, self._sets, self._name, self._environ = reactor, sets, name, environ
        self._settings = settings
        self.path = self._lay(settings)
        self._hands: dict[int, Hand] = {}
        self._waits = dict.fromkeys(range(len(sets)), 0.0)
        self._past = Past()
        self.carry = Carriers(lambda: self.path.carry, self._serving)
        self._cores = Cores([[one.udp for one in each] for each in sets], reactor.seconds)
        self._ended = Count("heimdall_workers_ended_total", "Workers that ended though nobody told them to.")
        self._own: list[Tally] = [
            self._ended,
            Gauge("heimdall_workers_serving_processes", "Workers that serve now.", lambda: len(self._serving())),
            *self._cores.tallies,
            *reporter(reactor).tallies,
        ]
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._started: Deferred[None] | None = None
        self._ending = False

    @property
    def tallies(self) -> Iterator[Tally]:
        """What all workers count, and counted; and this process for the node: a flush is told of once."""
        sharing = self.path.sharing
        own = sharing.tallies if sharing is not None else ()
        once = {tally.name for tally in sharing.flushes.tallies} if sharing is not None else set()
        yield from self._own
        yield from own
        yield from self._past.tallies
        for hand in self._hands.values():
            yield from (tally for tally in hand.tallies if tally.name not in once)

    def count(self) -> Deferred[None]:
        """Ask all workers what they count now, and wait a moment for it. Never fails."""
        asked: Deferred[Any] = DeferredList([hand.look() for hand in self._serving()])
        waiter: Deferred[None] = Deferred()
        asked.addCallback(lambda _: None if waiter.called else waiter.callback(None))
        return waiter.addTimeout(FRESH, self._reactor, lambda *_: None)

    def processes(self) -> Sequence[int]:
        """Return the numbers of the workers."""
        return [hand.process for hand in self._hands.values() if not hand.gone]

    def upstreams(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Return how each upstream does, by groups: up where it is for all workers."""
        every = [hand.upstreams for hand in self._serving() if hand.upstreams]
        return [[_together(seen) for seen in zip(*group, strict=False)] for group in zip(*every, strict=False)]

    def alive(self) -> bool:
        """Return whether somebody serves."""
        return bool(self._serving()) or self._started is not None

    def held(self, name: bytes, qtype: int = 0, every: bool = False, flush: bytes = NO_FLUSH) -> Deferred[Told]:
        """Ask all workers what they hold for a name, or whether they know of a flush."""
        what = {"name": name.hex(), "type": qtype, "every": every, "flush": flush.hex()}
        hands = self._serving()
        asked = DeferredList([hand.channel.ask("held", what, HELD) for hand in hands], consumeErrors=True)
        return asked.addCallback(self._found, hands, flush)

    def _found(self, results: Any, hands: Sequence[Hand], flush: bytes) -> Told:
        told = [(hand.number + 1, found) for hand, (done, found) in zip(hands, results, strict=True) if done]
        held = [{**each, "worker": number} for number, found in told for each in found["held"]]
        whole = len(told) == len(hands) and all(found["whole"] for _, found in told)
        known = whole and flush != NO_FLUSH and all(found["flushed"] for _, found in told)
        return Told(self._name, known, held, whole)

    def hitters(self) -> Deferred[tuple[float, list[Row]]]:
        """Ask all workers what they are asked for most; a name that several are asked for is told once by each."""
        asking = [hand.channel.ask("hitters", None, COUNTED) for hand in self._serving()]
        return DeferredList(asking, consumeErrors=True).addCallback(self._counted)

    def _counted(self, results: Any) -> tuple[float, list[Row]]:
        node = number_of(self._settings.peers.node or self._name)
        told = [from_json(told, node) for done, told in results if done]
        since = min((since for since, _ in told), default=time.time())
        return since, [row for _, rows in told for row in rows]

    def follow(self, query: Query) -> Deferred[Mapping[str, Any]]:
        """Have a worker ask a question as its client does: the first, which stands for all.

        :return: fails with Unanswered where none serves, or it does not tell what came of it.
        """
        what = {"wire": query.wire.hex(), "client": query.client, "stream": query.stream}
        for hand in self._serving():
            following: Deferred[Mapping[str, Any]] = hand.channel.ask("follow", what, self._settings.fetch.deadline + 1)
            return following.addErrback(_unanswered, hand)
        return fail(Unanswered("no worker serves"))

    def forget(self, flush: Any) -> None:
        """Have all workers forget a name."""
        if isinstance(flush, Flush):
            for hand in self._serving():
                hand.channel.ask("forget", flush.to_bytes().hex()).addErrback(lambda _: None)

    def start(self, redis: Deferred[None]) -> Deferred[None]:
        """Start all workers; fires when all of them serve.

        :param redis: fires when this process is to connect to Redis; a worker takes longer to start than one does.
        :return: fails with ValueError when one of them says that it cannot serve.
        """
        path = self.path
        redis.addCallback(lambda _: path.start() if self.path is path else None)
        started = self._started = Deferred()
        for number in range(len(self._sets)):
            self._hire(number)
        self._looking.start(LOOK, now=False)
        return started

    def change(self, settings: Settings) -> Deferred[None]:
        """Have all workers go on with other settings, one after the other.

        :return: fails with ValueError when one of them cannot; then all have the old ones.
        """
        return Deferred.fromCoroutine(self._change(settings))

    def settled(self) -> Deferred[None]:
        """Fire when no worker has anything under way with the settings before these."""
        asking = [hand.channel.ask("settled", within=START) for hand in self._serving()]
        return DeferredList(asking, consumeErrors=True).addCallback(lambda _: None)

    async def _change(self, settings: Settings) -> None:
        path = self._lay(settings)
        path.start()
        try:
            await linked(path, self._reactor)
            await self._tell(settings)
        except BaseException:
            path.close()
            raise
        former, self.path, self._settings = self.path, path, settings
        path.inherit(former)
        former.rest()
        path.lead()
        self._past.keep(former.sharing.tallies if former.sharing is not None else ())
        former.close().addBoth(lambda _: tidy())

    async def _tell(self, settings: Settings) -> None:
        """Tell each worker its new settings; tell those that have taken them the old ones, if one does not."""
        taken: list[Hand] = []
        for hand in self._serving():
            try:
                await hand.channel.ask("change", to_json(share(settings, len(self._sets))), START)
            except Unanswered as error:
                if hand.gone:
                    continue  # the next one in its place is told when all are
                for each in taken:
                    each.channel.ask("change", self._told(), START).addErrback(lambda _: None)
                raise ValueError(str(error)) from None
            taken.append(hand)
        self._settings = settings
        for hand in self._hands.values():
            if hand not in taken and not hand.gone:
                hand.kill("began with the old configuration")

    def finish(self) -> Deferred[None]:
        """Have all workers answer what they were asked, and end. Fires when that is done."""
        self._ending = True
        if self._looking.running:
            self._looking.stop()
        within = self._settings.fetch.deadline + 4 * LAST_WORDS + STOP
        ending = DeferredList([hand.end(within) for hand in self._hands.values()], consumeErrors=True)
        return ending.addCallback(lambda _: None)

    def close(self) -> Deferred[None]:
        """Give up the sockets, and the link to Redis."""
        for one in {id(one): one for each in self._sets for one in each}.values():
            one.close()
        return self.path.close()

    # The workers.

    def _lay(self, settings: Settings) -> Path:
        # The names that the configuration itself speaks of are looked at here, before a worker ends for them.
        lists(evolve(settings.admit, hosts=(), block_files=()))
        path = lay(settings, self._reactor, known=NOTHING)
        if path.sharing is not None:
            path.sharing.name(settings.peers.node or self._name)
            path.sharing.flushes.forgets.append(self.forget)
        return path

    def _told(self) -> Any:
        return to_json(share(self._settings, len(self._sets)))

    def _serving(self) -> list[Hand]:
        return [hand for _, hand in sorted(self._hands.items()) if hand.serves]

    def _hire(self, number: int) -> None:
        if not self._ending:
            hand = self._hands[number] = Hand(
                self._reactor, number, self._sets, self._changed, self._judge, self._environ
            )  # fmt: skip
            hand.serve(self._told(), self._name)

    def _look(self) -> None:
        for hand in self._hands.values():
            before = hand.silent
            hand.watch()
            if hand.silent and not before:
                self._log.warn(
                    "Worker {number}, process {pid}, gives no sign of life for {silent} s; after {hung} s it is killed",
                    number=hand.number + 1, pid=hand.process, silent=SILENT, hung=HUNG,
                )  # fmt: skip
            elif before and not hand.silent:
                self._log.info("Worker {number} serves again", number=hand.number + 1)
        self._cores.look({hand.number: hand.process for hand in self._serving()})
        self._cover()

    def _changed(self, hand: Hand) -> None:
        if hand.gone:
            self._lost(hand)
        self._cover()
        if self._started is not None and len(self._serving()) == len(self._sets):
            started, self._started = self._started, None
            started.callback(None)
        elif hand.serves and self._started is None:
            self._log.info("Worker {number} serves again", number=hand.number + 1)

    def _lost(self, hand: Hand) -> None:
        """Keep what a worker counted, and start another one in its place."""
        once = {tally.name for tally in self.path.sharing.flushes.tallies} if self.path.sharing is not None else set()
        self._past.keep(tally for tally in hand.tallies if tally.name not in once)
        hand.tallies = []
        if self._ending:
            return
        if hand.refused and self._started is not None:
            # At the start that is no accident of this worker.
            self._ending = True
            started, self._started = self._started, None
            started.errback(ValueError(hand.refused))
            return
        self._ended.add()
        lived = self._reactor.seconds() - hand.began
        wait = 0.0 if lived >= SETTLED else min(max(2 * self._waits[hand.number], SHORTEST), LONGEST)
        self._waits[hand.number] = wait
        self._log.error(
            "Worker {number}, process {pid}, {why}; the next one starts in {wait:g} s",
            number=hand.number + 1, pid=hand.process, why=hand.why, wait=wait,
        )  # fmt: skip
        self._reactor.callLater(wait, self._hire, hand.number)

    def _judge(self, hand: Hand, names: Any) -> None:
        """Have the other workers judge names again, as a policy of one of them asked for."""
        for other in self._serving():
            if other is not hand:
                other.channel.ask("judge", names).addErrback(lambda _: None)

    def _cover(self) -> None:
        """Have the first worker that serves cover for those that do not: their clients do not wait for the next."""
        serving = [hand for hand in self._serving() if not hand.silent]
        missing = sorted(set(range(len(self._sets))) - {hand.number for hand in serving})
        if self._started is not None or self._ending:
            return
        for at, hand in enumerate(serving):
            covers = missing if at == 0 else []
            if hand.covers != covers:
                hand.covers = covers
                hand.channel.ask("cover", covers).addErrback(lambda _: None)


def _unanswered(failure: Failure, hand: Hand) -> NoReturn:
    """Say which worker did not reply."""
    failure.trap(Unanswered)
    raise Unanswered(f"worker {hand.number + 1}: {failure.getErrorMessage()}")


def _together(seen: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return how a server does by what all workers say."""
    first = dict(seen[0])
    return first | {
        "up": all(each["up"] for each in seen),
        "misses": sum(each["misses"] for each in seen),
        "inflight": sum(each["inflight"] for each in seen),
    }


def build(
    settings: Settings,
    reactor: Any,
    sets: Sequence[Sequence[Bound]],
    http: socket.socket | None,
    environ: Mapping[str, str],
    load: Callable[[], Loaded] | None = None,
) -> Node:
    """Return a node that serves with workers, one for each set of sockets; see :func:`heimdall.node.build`."""
    name = name_of(settings)
    redis = embedded(settings, reactor, environ, patience=ENDING)
    crew = Crew(served(settings, redis), reactor, sets, name, environ)
    return Node(settings, crew, redis, name, reactor, http, environ, load)
