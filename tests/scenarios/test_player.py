"""Tests of the player: it fails where a scenario is not true, and says where."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.scenarios.player import Player
from tests.scenarios.story import MEANWHILE, Unplayable, Untrue, read
from tests.scenarios.upstreams import LIES, MOODS
from tests.virtual_time import CLOCK, VirtualCase

PAGE = Path(__file__).parents[2] / "docs" / "scenarios.md"

UPSTREAM = "upstream a answers www.example A 192.0.2.1 ttl 60"


class Written(VirtualCase):
    """Scenarios of a few lines, written on the spot."""

    def write(self, *lines: str, first: str = "A rule is held.") -> Path:
        """Return the file of a scenario; its lines begin at number 3."""
        path = Path(self.mktemp()).with_suffix(".scenario")
        path.write_text("\n".join([first, "", *lines, ""]), encoding="utf-8")
        return path.resolve()

    def player(self) -> Player:
        """Return a player with a folder of its own."""
        folder = Path(self.mktemp())
        folder.mkdir()
        return Player(CLOCK, folder.resolve())

    def play(self, *lines: str) -> Deferred[None]:
        """Play a scenario."""
        return self.player().play(self.write(*lines))


class Reading(Written):
    """Scenarios that cannot be played."""

    def assertUnplayable(self, said: str, *lines: str, first: str = "A rule is held.") -> None:
        """Hold that reading ends with a text that has ``said`` in it."""
        path = self.write(*lines, first=first)
        error = self.assertRaises(Unplayable, read, path, self.player().sentences())
        self.assertIn(path.name, str(error))
        self.assertIn(said, str(error))

    def test_first_line(self) -> None:
        """The first line is a sentence: the rule that the scenario holds."""
        self.assertUnplayable(":1: the first line has to say", first="redis runs")

    def test_no_sentence(self) -> None:
        """A line that is no sentence is told with its number and the sentence that is nearest."""
        self.assertUnplayable(":4: 'redis run': no such sentence; is it 'redis runs'?", "# a comment", "redis run")

    def test_outcome(self) -> None:
        """What may stand behind the arrow is told to who writes something else."""
        for wrong in (
            "HELLO",
            "NOERROR no data from mars",
            "NOERROR no data ttl x",
            "nothing ttl 3",
            "NXDOMAIN flags zz",
        ):
            self.assertUnplayable(":3: ", f"ask www.example A -> {wrong}")

    def test_manner(self) -> None:
        """How a client can ask is told to who writes something else."""
        for wrong in ("loudly", "size", "3 at once", "at last"):
            self.assertUnplayable("a client asks with do, cd", f"ask www.example A {wrong} -> NXDOMAIN")

    def test_lie(self) -> None:
        """What an upstream can lie about is told to who writes something else."""
        self.assertUnplayable("an upstream can lie about its id", "upstream a lies about its age")

    def test_blocks(self) -> None:
        """Indented lines stand below a sentence that takes them, and nowhere else."""
        self.assertUnplayable(":3: nothing stands above", "  a")
        self.assertUnplayable(":3: 'redis runs': nothing can be indented", "redis runs", "  a")
        self.assertUnplayable(":3: 'file x:': the lines below this one have to be indented", "file x:")


class Playing(Written):
    """Scenarios that are not true."""

    def test_untrue(self) -> Deferred[None]:
        """Whatever comes out otherwise than a line says ends the scenario with that line and what came."""
        return Deferred.fromCoroutine(self._untrue())

    async def _untrue(self) -> None:
        www = "ask www.example A"
        for line, said in (
            (f"{www} -> NXDOMAIN", "the code is NOERROR"),
            (f"{www} -> NOERROR 192.0.2.2", "the data is 192.0.2.1"),
            (f"{www} -> NOERROR no data", "the data is 192.0.2.1"),
            (f"{www} -> NOERROR", "the scenario has to say"),
            ("ask www.example AAAA -> NOERROR some data", "the code is NXDOMAIN; there is no data"),
            (f"{www} -> NOERROR some data ttl 59", "the TTL of www.example. A is 60"),
            (f"{www} -> NOERROR some data ttl about 63", "the TTL of www.example. A is 60"),
            (f"{www} -> NOERROR some data from memory", "the answer came from upstream"),
            (f"{www} -> NOERROR some data flags aa", "of the flags are set: none"),
            (f"{www} -> NOERROR some data ede 3", "the extended errors are []"),
            (f"{www} -> nothing", "there is a reply"),
            (f"{www} 3 times at once -> REFUSED", "the code is NOERROR"),
            (
                f"{www} -> NOERROR from upstream\n  www.example 60 A 192.0.2.2",
                "there is no www.example. 60 A 192.0.2.2",
            ),
            (f"meanwhile {www} -> NXDOMAIN", "the code is NOERROR"),
            ("upstream a was asked 1 time", "it was asked 0 times"),
            ("node one counted 1 heimdall_cache_once_asked_total", "it counted 0"),
            ("node one counted 1 heimdall_cache_once_nothing", "there is no such counter"),
            ("node one uses redis within 0.1 s", "it does not, not even 0.1 s later"),
            ("node one lists one", "without Redis it knows of no others"),
        ):
            await self._fails(Untrue, UPSTREAM, line, where=4, said=said)
        late = (UPSTREAM, "upstream a is slow 0.1 s", f"{www} -> NOERROR some data within 0.09 s")
        await self._fails(Untrue, *late, where=5, said="it took 0.100 s")

    def test_untrue_of_redis(self) -> Deferred[None]:
        """What is not true of Redis is told too."""
        return Deferred.fromCoroutine(self._untrue_of_redis())

    async def _untrue_of_redis(self) -> None:
        for line, said in (
            ("redis holds 1 answer", "it holds 0"),
            ("redis has rubbish in every value", "there is no value"),
            ("redis has its values swapped", "0 values cannot be swapped"),
            ("node one does without redis within 0.1 s", "it still uses Redis"),
            ("node one lists one, two", "it lists one"),
        ):
            await self._fails(Untrue, "redis runs", line, where=4, said=said)

    def test_order(self) -> Deferred[None]:
        """A node that runs cannot be configured any more."""
        return Deferred.fromCoroutine(
            self._fails(Untrue, "node one starts", "node one with cache.stale = false", where=4, said="runs already")
        )

    def test_misconfigured(self) -> Deferred[None]:
        """A configuration with a fault is told as an operator is told it."""
        return Deferred.fromCoroutine(
            self._fails(
                Unplayable,
                "node one with cache.stale = 7",
                "node one starts",
                where=4,
                said="cache.stale = 7: expected",
            )
        )

    def test_no_data(self) -> Deferred[None]:
        """Data that is none of its type is told with its line."""
        return Deferred.fromCoroutine(
            self._fails(Unplayable, "upstream a answers www.example A cheese", where=3, said="'cheese' is no data of A")
        )

    async def _fails(self, kind: type[Exception], *lines: str, where: int, said: str) -> None:
        try:
            await self.play(*lines)
        except kind as error:
            self.assertIn(f".scenario:{where}: ", str(error))
            self.assertIn(said, str(error))
        else:
            self.fail(f"this was played as if it were true: {lines}")


class Page(SynchronousTestCase):
    """The page that explains the language."""

    def test_sentences(self) -> None:
        """Every sentence that can be said is on the page, and the page has no others."""
        folder = Path(self.mktemp())
        known = {one.text for one in Player(CLOCK, folder).sentences()}
        written = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.M))
        self.assertEqual(written, known | {MEANWHILE + "..."})

    def test_words(self) -> None:
        """Every fault of an upstream, and every lie, is on the page."""
        page = " ".join(PAGE.read_text(encoding="utf-8").split())
        self.assertEqual([word for word in (*MOODS, *LIES) if word not in page], [])

    def test_example(self) -> None:
        """The example on the page is one of the scenarios, word for word."""
        example = re.search(r"^```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
        stories = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.scenario")]
        self.assertIn(example and example[1], stories)
