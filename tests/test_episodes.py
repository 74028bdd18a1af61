"""What happens to clients is told when it begins and when it is over, however many clients there are."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from heimdall.episodes import EVERY, NAMED, Episodes


class Told(SynchronousTestCase):
    """Lines of the log."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[tuple[LogLevel, str]] = []

        def observe(event: LogEvent) -> None:
            self.events.append((event["log_level"], formatEvent(event)))

        log = Logger("heimdall.test", observer=observe)  # type: ignore[arg-type]
        self.episodes = Episodes(self.clock, log, "begins for {who}", "ends for {who} after {count}")

    def note(self, client: int) -> None:
        """Have it happen to a client."""
        self.episodes.note(client, f"client {client}")

    def lines(self) -> list[str]:
        """Return what was said since, and forget it."""
        lines, self.events = [line for _, line in self.events], []
        return lines

    def test_once(self) -> None:
        """However often it happens to a client, there is one line when it begins and one when it is over."""
        for _ in range(100):
            self.note(1)
            self.clock.advance(EVERY / 10)
        self.assertEqual(self.events, [(LogLevel.warn, "begins for client 1")])
        self.clock.advance(EVERY)
        self.clock.advance(EVERY)
        self.assertEqual(self.events[1:], [(LogLevel.info, "ends for client 1 after 100")])
        self.note(1)
        self.assertEqual(self.lines()[2:], ["begins for client 1"])

    def test_named(self) -> None:
        """A client is called by another name where that is asked for, once."""
        asked: list[str] = []

        def name(host: str) -> str:
            asked.append(host)
            return f"the network of {host}"

        for _ in range(3):
            self.episodes.note(1, "a", name)
        self.assertEqual((self.lines(), asked), (["begins for the network of a"], ["a"]))

    def test_flood(self) -> None:
        """Of more clients than are named all others are one; each of them ends by itself."""
        for number in range(10_000):
            self.note(number)
        others = f"others, beside the {NAMED} that are named"
        named = [f"client {number}" for number in range(NAMED)]
        self.assertEqual(self.lines(), [f"begins for {who}" for who in (*named, others)])
        self.clock.advance(EVERY)
        self.note(0)
        self.note(NAMED + 1)
        self.clock.advance(EVERY)
        self.assertEqual(self.lines(), [f"ends for {who} after 1" for who in named[1:]])
        self.note(NAMED + 1)  # there is a place for its name by now
        self.clock.advance(EVERY)
        count = 10_000 - NAMED + 1
        ends = ["ends for client 0 after 2", f"ends for {others} after {count}"]
        self.assertEqual(self.lines(), [f"begins for client {NAMED + 1}", *ends])

    def test_bounded(self) -> None:
        """A flood of clients, others each second, leaves few lines: as many as are named, twice in two looks."""
        seconds = 10 * EVERY
        for second in range(int(seconds)):
            for number in range(100):
                self.note(1000 * second + number)
            self.clock.advance(1)
        self.assertLessEqual(len(self.events), (seconds / EVERY + 1) * NAMED + 2)

    def test_no_timer(self) -> None:
        """A timer runs only while there is something to look for, and until it is stopped."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.note(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(EVERY)
        self.clock.advance(EVERY)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.note(1)
        self.episodes.stop()
        self.episodes.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
