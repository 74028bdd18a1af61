"""Misses per second of one process: names asked of NSD through a group, so many outstanding at any time.

``python benchmarks/fetch_miss.py [--names 10000] [--queries 100000] [--outstanding 200] [--servers 1]``
"""

from __future__ import annotations

import argparse
import os
import resource
import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from heimdall.fetch.ledger import Ledger
from heimdall.fetch.server import reach
from heimdall.fetch.upstream import Group
from heimdall.message.answer import Answer
from heimdall.message.query import make
from heimdall.message.wire import from_text
from tests.nsd import ZONE, Nsd


class Load:
    """Asks a number of questions, always the same number at once.

    :ivar done: fires when all have ended.
    """

    def __init__(self, group: Group, names: int, queries: int, outstanding: int) -> None:
        self.questions = [make(from_text(f"n{number}.{ZONE}"), 1) for number in range(names)]
        self.group = group
        self.left, self.waiting = queries, 0
        self.good = 0
        self.done: Deferred[None] = Deferred()
        self._outstanding = outstanding
        self._slots = 0

    def start(self) -> None:
        """Ask as many as may be outstanding."""
        for _ in range(self._outstanding):
            self._next()

    def _next(self) -> None:
        if not self.left:
            if not self.waiting and not self.done.called:
                self.done.callback(None)
            return
        self.left -= 1
        self.waiting += 1
        self.group.ask(self.questions[self.left % len(self.questions)]).addCallbacks(self._answered, self._lost)

    def _answered(self, answer: Answer) -> None:
        self.good += answer.rcode == 0
        self._lost(answer)

    def _lost(self, _: object) -> None:
        self.waiting -= 1
        self._next()


def main() -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("names", 10000), ("queries", 100000), ("outstanding", 200), ("servers", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    servers = [Nsd(options.names).start() for _ in range(options.servers)]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    ledger = Ledger()
    clock = IReactorTime(reactor)
    group = Group([(nsd.text, reach(clock, nsd.text, ledger)) for nsd in servers], clock, ledger=ledger)
    load = Load(group, options.names, options.queries, options.outstanding)
    try:
        reactor.callWhenRunning(load.start)
        load.done.addCallback(lambda _: reactor.stop())
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        reactor.run()
        took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    finally:
        group.close()
        for nsd in servers:
            nsd.stop()
    user = (after.ru_utime - before.ru_utime) / options.queries * 1e6
    system = (after.ru_stime - before.ru_stime) / options.queries * 1e6
    print(f"{options.queries / took:.0f} misses/s, {load.good} of {options.queries} answered")
    print(f"CPU a query: {user:.1f} us user, {system:.1f} us system")
    print(f"sent: {ledger.asked.counts}, failed: {ledger.failed.counts}, mismatched: {ledger.mismatched.counts}")
    print(f"state: {group.state()}")


if __name__ == "__main__":
    main()
