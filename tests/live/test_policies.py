"""Policies of users in nodes of their own processes: from their start to their end, and what they change."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import heimdall
from tests.live import test_clock
from tests.live.own_policies import FOLDER
from tests.live.test_reload import LOADED, Case, wait
from tests.live.test_workers import dealt, held
from tests.message.messages import query_wire
from tests.redisserver import RedisServer
from tests.running import PATIENT, Running
from tests.slowup import SlowUpstream

PAGE = Path(heimdall.__file__).parent.parent / "docs" / "policies.md"
SCHOOL = '[admit]\ngates = ["school.School"]\n'
REFUSES = '[admit]\ngates = ["tests.live.own_policies.Refuses"]\n'
REFUSED, NXDOMAIN = 5, 3


class Policies(Case):
    """A node whose policies heed a folder."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.refuse("none.example")
        os.environ[FOLDER] = str(self.folder)
        self.addCleanup(os.environ.pop, FOLDER)

    def refuse(self, *names: str) -> None:
        """Have these names refused from the next look on."""
        self.put("refused", " ".join(names))

    def put(self, file: str, text: str = "") -> None:
        """Put a file into the folder, whole at once."""
        beside = self.folder / "beside"
        beside.write_text(text)
        beside.rename(self.folder / file)

    def change(self, names: str) -> None:
        """Have one policy say that it has changed its mind on these names, or on all where none is given."""
        before = len(self.notes("changed"))
        self.put("changed", names)
        wait(lambda: len(self.notes("changed")) > before, "that one of them says so")

    def gates(self, *names: str) -> str:
        """Return a configuration with these policies."""
        return f"[admit]\ngates = {[f'tests.live.own_policies.{name}' for name in names]}\n"

    def notes(self, what: str) -> list[str]:
        """Return which policies noted this, each as often as it did."""
        notes = self.folder / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        return [who for who, _, noted in (line.partition(" ") for line in lines) if noted == what]

    def ticked(self) -> None:
        """Wait until each policy that ticks has looked twice more: then it knows what the folder says."""
        before = {who: self.notes("ticks").count(who) for who in self.living()}
        wait(lambda: all(self.notes("ticks").count(who) > n + 1 for who, n in before.items()), "ticks")

    def living(self) -> set[str]:
        """Return the policies that started and did not stop."""
        return set(self.notes("starts")) - set(self.notes("stops"))


class Changed(Policies):
    """A policy that changes its mind."""

    def test_at_once(self) -> None:
        """It is obeyed by the next query, though memory holds the name for an hour; other names stay."""
        self.start(REFUSES)
        names = ("a.hot.example", "b.hot.example", "c.example")
        self.assertEqual([self.rcode(name) for name in names], [0, 0, 0])
        for changed in ("hot.example", ""):
            self.refuse()
            self.ticked()
            self.change("hot.example")
            wait(lambda: self.rcode(names[0]) == 0, "that it is asked for again")
            self.refuse("hot.example")
            self.ticked()
            self.change(changed)
            self.assertEqual([self.rcode(name) for name in names], [REFUSED, REFUSED, 0])
        self.assertEqual((self.upstream.counts()["distinct"], self.node.trouble()), (3, []))


class Life(Policies):
    """From start to end."""

    def test_reload(self) -> None:
        """After a reload the old policy is stopped, once, and does nothing any more; the end of all stops the new."""
        self.start("[fetch]\ndeadline = 1.0\n" + REFUSES)
        (first,) = self.living()
        self.refuse("a.example")
        self.reload("[fetch]\ndeadline = 1.0\n" + REFUSES)
        self.assertEqual(self.rcode("a.example"), REFUSED)
        wait(lambda: self.notes("stops") == [first], "that the old one is stopped")
        ticks = self.notes("ticks").count(first)
        self.ticked()
        self.assertEqual((self.notes("ticks").count(first), len(self.living())), (ticks, 1))
        self.assertEqual((self.node.end(), self.living(), len(self.notes("stops"))), (0, set(), 2))
        self.assertEqual(self.node.trouble(), [])

    def test_cannot_start(self) -> None:
        """A node whose policy cannot start says so in a line, and ends with a code that tells a failure."""
        for name in ("Raises", "Fails"):
            error = str(self.assertRaises(RuntimeError, self.start, self.gates(name)))
            self.assertIn("ended with code 1", error)
            said = f"The configuration cannot be used: the policy tests.live.own_policies.{name} could not start: "
            self.assertIn(said + "its list is not there (OSError)", error)
            self.assertNotIn("Traceback", error)

    def test_looks_at_the_client(self) -> None:
        """So does one whose policy looks at the client behind memory; at a reload the old one goes on."""
        error = str(self.assertRaises(RuntimeError, self.start, self.gates("Looks")))
        self.assertIn("ended with code 1", error)
        self.assertIn("the configuration cannot be used: tests.live.own_policies.Looks looks at query.client", error)
        self.start(REFUSES)
        self.reload(self.gates("Looks"), "The configuration cannot be used")
        self.assertEqual(self.rcode("none.example"), REFUSED)

    def test_cannot_start_at_reload(self) -> None:
        """At a reload the old one goes on, and those of the new that have started are stopped."""
        self.start(REFUSES)
        (first,) = self.living()
        for name in ("Raises", "Fails"):
            self.reload(
                self.gates("Refuses", name),
                f"{name} could not start: its list is not there (OSError); the old one goes on",
            )
            self.assertEqual((self.rcode("none.example"), self.living()), (REFUSED, {first}))
        self.assertEqual(self.node.trouble(), [])

    def test_ready(self) -> None:
        """A node waits for its policy before it answers and says that it is ready; at a reload the old one goes on."""
        self.refuse("a.example")
        original = Running._wait

        def first_not_ready(node: Running) -> None:
            wait(lambda: self.page(node) == 503, "that the node says that it is not ready")
            wait(lambda: self.notes("starts"), "that the policy starts")
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(0.5)
                client.sendto(query_wire("a.example"), ("127.0.0.1", node.port))
                self.assertRaises(TimeoutError, client.recv, 4096)
            self.put("ready")
            original(node)

        self.patch(Running, "_wait", first_not_ready)
        node = self.start(self.gates("Waits"))
        self.assertEqual((self.rcode("a.example"), self.rcode("b.example")), (REFUSED, 0))
        # Now the same at a reload: the new one refuses b.example as well, but is not ready.
        (self.folder / "ready").unlink()
        self.refuse("a.example", "b.example")
        node.process.send_signal(signal.SIGHUP)
        wait(lambda: len(self.notes("starts")) == 2, "that the new one starts")
        self.assertEqual((self.rcode("a.example"), self.rcode("b.example")), (REFUSED, 0))
        self.put("ready")
        wait(lambda: self.rcode("b.example") == REFUSED, "that the new one is asked")
        self.assertEqual(node.trouble(), [])

    def test_reload_meanwhile(self) -> None:
        """One that is told meanwhile to load its configuration again does so once its policy is ready."""
        original = Running._wait

        def hung_up(node: Running) -> None:
            wait(lambda: self.page(node) == 503 and self.notes("starts"), "that the policy starts")
            node.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            self.assertEqual((len(self.living()), LOADED in node.log), (1, False))
            self.put("ready")
            original(node)

        self.patch(Running, "_wait", hung_up)
        node = self.start("[fetch]\ndeadline = 1.0\n" + self.gates("Waits"))
        wait(lambda: LOADED in node.log and len(self.notes("stops")) == 1, "that the configuration is loaded again")
        self.assertEqual((self.rcode("none.example"), len(self.living()), node.trouble()), (REFUSED, 1, []))

    def test_end_meanwhile(self) -> None:
        """A node that is told to end while its policy is not ready does so at once, and stops that."""

        def not_waiting(node: Running) -> None:
            wait(lambda: self.page(node) == 503 and self.notes("starts"), "that the policy starts")

        self.patch(Running, "_wait", not_waiting)
        node = self.start(self.gates("Waits"))
        self.assertEqual((node.end(), self.living(), node.trouble()), (0, set(), []))
        self.assertNotIn("is not ready after", node.log)

    def page(self, node: Running) -> int:
        """Return what the node says of being ready; 0 where it says nothing."""
        try:
            return node.get("/ready")[0]
        except OSError:
            return 0


class Workers(Policies):
    """With workers."""

    arguments = ("--workers=2",)

    def test_cannot_start(self) -> None:
        """A policy that cannot start in a worker ends the node at the start; at a reload none goes on with it."""
        for name in ("Raises", "Fails"):
            error = str(self.assertRaises(RuntimeError, self.start, self.gates(name)))
            self.assertIn("ended with code 1", error)
            self.assertIn(f"The configuration cannot be used: the policy tests.live.own_policies.{name} could", error)
        self.start(REFUSES)
        self.reload(self.gates("Fails"), "could not start: its list is not there (OSError); the old one goes on")
        dealt(lambda _: self.assertEqual(self.rcode("none.example"), REFUSED))

    def test_end_meanwhile(self) -> None:
        """Workers that are told to end while they wait for the policies of a reload do so at once, and stop these."""
        node = self.start(REFUSES)
        self.file.write_text(self.gates("Waits"))
        node.process.send_signal(signal.SIGHUP)
        wait(lambda: len(self.notes("starts")) == 3, "that the policy of the first worker starts")
        self.assertEqual((node.end(), self.living(), node.trouble()), (0, set(), []))

    def test_all_of_them(self) -> None:
        """What a policy of one worker says that it has changed its mind on, the memories of all forget at once."""
        node = self.start(REFUSES)
        self.assertEqual(len(self.living()), 2)
        for changed in ("hot.example", ""):
            self.refuse()
            self.ticked()
            dealt(lambda _: self.assertEqual(self.rcode("a.hot.example"), 0))
            wait(lambda: len({each["worker"] for each in held(node, "a.hot.example")}) == 2, "that both hold it")
            self.refuse("hot.example")
            self.ticked()
            self.change(changed)
            wait(lambda: held(node, "a.hot.example") == [], "that neither holds it")
            dealt(lambda _: self.assertEqual(self.rcode("a.hot.example"), REFUSED))
        self.assertEqual((node.end(), self.living()), (0, set()))


class Cluster(Policies):
    """Two nodes that share a Redis."""

    def codes(self, nodes: list[Running]) -> list[int]:
        """Ask each node for a name; return the response codes."""
        return [int(node.ask("a.hot.example").rcode()) for node in nodes]

    def test_all_nodes(self) -> None:
        """What a policy of one node says that it has changed its mind on is forgotten by the other, and by Redis."""
        redis = RedisServer().start()
        self.addCleanup(redis.stop)
        self.file.write_text(REFUSES)
        nodes = []
        for name in ("one", "two"):
            nodes.append(
                Running(
                    f"--upstream={self.upstream.text}", f"--config={self.file}", f"--redis={redis.url}",
                    f"--node={name}", environ=PATIENT,
                )
            )  # fmt: skip
            self.addCleanup(nodes[-1].clean)
        wait(lambda: all(len(node.members()["members"]) == 2 for node in nodes), "that each knows of the other")
        for changed in ("hot.example", ""):
            self.refuse()
            self.ticked()
            wait(lambda: self.codes(nodes) == [0, 0], "that it is answered")
            self.refuse("hot.example")
            self.ticked()
            asked = self.upstream.counts()["asked"]
            self.change(changed)
            wait(lambda: self.codes(nodes) == [REFUSED, REFUSED], "that it is obeyed")
            if changed:
                self.refuse()
                self.ticked()
                # A flush leaves answers to the name unshared for a moment.
                time.sleep(0.2)
                self.assertEqual(self.codes(nodes), [0, 0])
                self.assertGreater(self.upstream.counts()["asked"], asked)
            self.change("")
        self.assertEqual([line for node in nodes for line in node.trouble()], [])


class Clock(SynchronousTestCase):
    """The policy of the page, on a wall clock that passes eight."""

    if test_clock.LIBRARY is None:
        skip = "no libfaketime here: apt-get install faketime"

    def setUp(self) -> None:
        self.clock = Path(self.mktemp()).absolute()
        self.upstream = SlowUpstream(0.0, 4)
        self.addCleanup(self.upstream.stop)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (code, *_) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        (folder / "school.py").write_text(code)
        config = folder / "heimdall.toml"
        config.write_text(SCHOOL)
        self.at(7, 58)
        root = Path(heimdall.__file__).parent.parent
        self.node = Running(
            "--no-redis", f"--config={config}", f"--upstream={self.upstream.text}",
            environ={
                "PYTHONPATH": f"{root}{os.pathsep}{folder}", "TZ": "UTC",
                "LD_PRELOAD": str(test_clock.LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1",
            },
        )  # fmt: skip
        self.addCleanup(self.node.clean)

    def at(self, hour: int, minute: int) -> None:
        """Set the node's wall clock to this time of today."""
        now = time.time()
        beside = self.clock.with_suffix(".new")
        beside.write_text(f"{hour * 3600 + minute * 60 - now % 86400:+.0f}\n")
        os.replace(beside, self.clock)

    def ask(self) -> int:
        """Ask for a game, and wait as long as one does who asks twice a second."""
        time.sleep(0.5)
        return int(self.node.ask("www.games.example").rcode())

    def test_school(self) -> None:
        """A game that is asked for twice a second, and refreshed before eight, is refused after it, for all morning."""
        wait(lambda: self.ask() == 0 and self.upstream.counts()["early"] > 0, "that it is refreshed ahead of its end")
        self.at(8, 1)
        wait(lambda: self.ask() == NXDOMAIN, "that it is refused")
        asked = self.upstream.counts()["asked"]
        self.assertEqual({self.ask() for _ in range(16)}, {NXDOMAIN})
        self.assertEqual((self.upstream.counts()["asked"], self.node.trouble()), (asked, []))
        self.at(15, 1)
        self.assertEqual(self.ask(), 0)
