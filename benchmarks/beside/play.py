"""Give servers the same work in turns, and take down what each of them did."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from math import inf
from typing import Any, Final

from attrs import frozen

from benchmarks.beside import streams
from benchmarks.beside.ground import Ground, cores, plain, signed
from benchmarks.beside.learn import MANY, confine, teach
from benchmarks.beside.load import CLIENTS, OUTSTANDING, Dnsperf, Found, Questions, ask
from benchmarks.beside.meter import resident, spent
from benchmarks.beside.peers import BARE, CONTESTANTS, ECHO, Contestant, Heimdall, Server, Setting, pinned
from benchmarks.beside.quiet import Quiet
from benchmarks.beside.store import Store
from benchmarks.beside.works import Lines, Work, new_to, random_subdomains
from tests.redisserver import wait_for

Run = dict[str, Any]

WARM: Final = 0.99
"""The share of its answers that a server must have had in memory to be called warm."""

CALM: Final = 200.0
"""Questions a second of the normal client that is asking while there is abuse."""


@frozen
class Entrant:
    """A contestant as it takes part: its name in the results, the cores it and its clients run on, its threads."""

    name: str
    contestant: Contestant
    core: str
    around: str
    threads: int = 1

    @property
    def options(self) -> tuple[str, ...]:
        """How dnsperf is to ask it: as much from each thread."""
        if self.threads == 1:
            return ()
        return "-T", f"{self.threads}", "-c", f"{self.threads * CLIENTS}", "-q", f"{self.threads * OUTSTANDING}"


def entrants(work: Work, contestants: Sequence[Contestant]) -> list[Entrant]:
    """Return who takes part in a workload.

    With several threads, server and clients share all cores; with one, they share one: so that those who ask have the
    same share of each core.
    """
    core, around = map(str, cores())
    wanted = [one for one in contestants if one.name == work.bound or one.name in _servers(work)]
    if work.threads == 1:
        return [Entrant(one.name, one, core, around) for one in wanted]
    both = f"{core},{around}"
    return [
        entrant
        for one in wanted
        for entrant in (
            Entrant(f"{one.name} x1", one, core, core),
            Entrant(f"{one.name} x{work.threads}", one, both, both, work.threads),
        )
    ]


def _servers(work: Work) -> Collection[str]:
    return work.servers or {one.name for one in CONTESTANTS} - {ECHO, BARE}


class Stage:
    """Everything that a workload needs, and its servers, which have learnt what they may know: a context manager.

    :param seconds: of each measurement.
    :param quiet: waits before each one until the machine is not slowed down by others; None for not at all.
    """

    def __init__(self, work: Work, taking_part: Sequence[Entrant], seconds: float, quiet: Quiet | None = None) -> None:
        self.work, self.seconds, self._quiet = work, seconds, quiet
        self.servers: dict[str, tuple[Entrant, Server]] = {}
        self._taking_part = taking_part
        self._dice = random.Random(work.name)
        self._tag = 0
        self._stack = ExitStack()
        self._store: Store | None = None
        self._other: Server | None = None

    def __enter__(self) -> Stage:
        try:
            self._ground = Ground(signed() if self.work.signed else plain())
            self._stack.callback(self._ground.stop)
            if self.work.redis:
                self._store = Store()
                self._stack.callback(self._store.stop)
            if self.work.part:
                self._other = self._start(CONTESTANTS[0], self._setting(str(cores()[0]), node="other"))
            known = self.work.known()
            for one in self._taking_part:
                self._enter(one, known if len(known) <= MANY else ())
            if len(known) > MANY:
                self._teach(known)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _enter(self, entrant: Entrant, known: Lines) -> None:
        """Start a server that takes part and teach it; one that does not start is left out, and said to be."""
        try:
            server = self._start(entrant.contestant, self._setting(entrant.core, threads=entrant.threads))
        except RuntimeError as error:
            say(f"{self.work.name}: LEFT OUT, {entrant.name} did not start: {str(error)[:300]}")
            return
        if known:
            say(f"{self.work.name}: {entrant.name} learns {len(known):,} names")
            # Workers know each what they were asked themselves.
            for _ in range(1 if entrant.threads == 1 else 5):
                ask(server.port, known, *self.work.options)
        self.servers[entrant.name] = entrant, server

    def _teach(self, known: Lines) -> None:
        """Teach all servers a great many names; they have all cores for that, and their own again when it is done."""
        say(f"{self.work.name}: all learn {len(known):,} names")
        for _, server in self.servers.values():
            confine(server.pid, cores())
        servers = {name: server for name, (_, server) in self.servers.items()}
        teach(servers, known, ",".join(map(str, cores())), lambda told: say(f"{self.work.name}: learnt: {told}"))
        for entrant, server in self.servers.values():
            confine(server.pid, set(map(int, entrant.core.split(","))) if entrant.core else cores())

    def _setting(self, core: str, **more: Any) -> Setting:
        url = self._store.url if self._store else ""
        return Setting(self._ground.port, core, self.work.entries, redis=url, **more)

    def _start(self, contestant: Contestant, setting: Setting) -> Server:
        server = contestant.start(setting)
        self._stack.callback(server.clean)
        return server

    def round(self) -> Iterator[tuple[str, Run]]:
        """Measure every server once, one after the other with the same questions, and then Redis by itself."""
        most = self.work.most * self.seconds
        # What is learnt by the million is asked for once at most: no cache of a processor is to help.
        full = self._lines(int(most if self.work.once else min(most, max(100_000, self.work.entries))))
        slow = self._lines(int(len(full) / 2)) if self.work.half else ()
        bad = self._subdomains()
        for place, (name, (entrant, server)) in enumerate(self.servers.items()):
            asked = [Questions(new_to(lines, place)) for lines in (full, slow, bad)]
            with asked[0] as fast, asked[1] as calm, asked[2] as abuse:
                pace = self._quiet.wait() if self._quiet else 1.0
                before = self._ground.asked
                run = self._measure(entrant, server, fast, abuse) | {"pace": round(pace, 2)}
                answered = run["answered"]
                if self.work.half:
                    found = self._load(server, calm, seconds=self.seconds, rate=run["rate"] / 2, timed=True)
                    run |= _times(found) | {"half_rate": round(found.rate), "half_lost": found.lost}
                    answered += found.answered
                if self.work.warm:
                    run["known"] = round(max(1 - (self._ground.asked - before) / max(answered, 1), 0.0), 5)
                    if run["known"] < WARM:
                        say(f"{self.work.name}: {name} was NOT WARM: it had {run['known']:.1%} of the answers")
                yield name, run
        if self.work.part == 1 and self._store is not None:
            yield "redis-benchmark", {"rate": self._store.benchmark(str(cores()[0]))}

    def _lines(self, count: int) -> Lines:
        """Make questions; have another node learn those that it is to know."""
        self._tag += 1
        tag = f"q{self._tag}"
        lines = self.work.ask(self._dice, tag, count)
        if self._other is not None:
            part = [line for line in lines if line.startswith(f"{tag}r")]
            other, written = self._other, _written(self._other) + len(part)
            ask(other.port, part)
            wait_for(lambda: _written(other) >= written)  # it writes to Redis behind its answers
        return lines

    def _subdomains(self) -> Lines:
        self._tag += 1
        count = int(self.work.most / 4 * (self.seconds + 1)) if self.work.abused else 0
        return random_subdomains(self._dice, f"q{self._tag}", count)

    def _load(self, server: Server, questions: Questions, *options: str, **more: Any) -> Found:
        return Dnsperf(server.port, questions, *self.work.options, *options, once=self.work.once, **more).end()

    def _measure(self, entrant: Entrant, server: Server, questions: Questions, abuse: Questions) -> Run:
        """Load a server as much as it takes, and take down what that cost."""
        origins = _origins(server)
        before = spent(server.pid)
        if self.work.streams:
            found = all_found = streams.ask(server.port, questions.lines, self.work.streams, self.seconds)
        elif self.work.abused:
            found, all_found = self._abused(server, questions, abuse)
        else:
            more = {"seconds": self.seconds, "before": pinned(entrant.around)}
            found = all_found = self._load(server, questions, *entrant.options, **more)
        after = spent(server.pid)
        micro = 1e6 / max(all_found.answered, 1)
        user, system = ((new - old) * micro for old, new in zip(before, after, strict=True))
        return {
            "rate": round(all_found.rate),
            "sent": all_found.sent,
            "answered": all_found.answered,
            "lost": found.lost,
            "user": round(user, 3),
            "system": round(system, 3),
            "cpu": round(user + system, 3),
            "resident": resident(server.pid),
            "origins": {origin: round(new - origins[origin]) for origin, new in _origins(server).items()},
            **(_times(found) if found.latencies else {}),
        }

    def _abused(self, server: Server, questions: Questions, abuse: Questions) -> tuple[Found, Found]:
        """Let a normal client ask while another asks for random subdomains; return what it found, and what both did."""
        good = ("NOERROR", "NXDOMAIN")
        seconds = self.seconds
        # The load generators share a core: the normal client is to notice the server, not the other one.
        bad = Dnsperf(server.port, abuse, seconds=seconds + 0.5, once=True, good=good, before=("nice", "-n", "15"))
        time.sleep(0.3)
        calm = Dnsperf(server.port, questions, seconds=seconds, rate=CALM, timed=True).end()
        both = bad.end()
        return calm, Found(
            both.sent + calm.sent, both.answered + calm.answered, both.lost + calm.lost, both.seconds, calm.latencies
        )


def _times(found: Found) -> Run:
    """Return times in milliseconds."""
    times = sorted(found.latencies) or [0.0]
    places = {"median": 0.5, "p99": 0.99, "p999": 0.999}
    ranks = {name: min(int(len(times) * at), len(times) - 1) for name, at in places.items()} | {"most": -1}
    return {name: round(1000 * times[rank], 3) for name, rank in ranks.items()}


def _written(server: Server) -> float:
    """Return how many answers Heimdall has written to Redis, or could not."""
    return server.metric("heimdall_cache_redis_writes_total") if isinstance(server, Heimdall) else inf


def _origins(server: Server) -> dict[str, float]:
    """Return how many answers Heimdall has given from where; nothing for others."""
    if not isinstance(server, Heimdall):
        return {}
    places = ("memory", "redis", "upstream")
    return {origin: server.metric("heimdall_accept_answers_total", origin=origin) for origin in places}


def say(what: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)
