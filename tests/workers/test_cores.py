"""Workers on cores of their own: real sockets and processes, whose use of their cores the test makes up."""

from __future__ import annotations

import os
import socket
import subprocess

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from heimdall.workers.cores import PATIENCE, REST, Cores, available, waited_or_run
from tests.cores import on_core


class Keeping(SynchronousTestCase):
    """Two workers and two cores."""

    def setUp(self) -> None:
        self.ours = list(available())[:2]
        if len(self.ours) < 2:
            raise SkipTest("this takes two cores and Linux 6.2 or newer")
        self.clock = Clock()
        self.used: dict[int, float] = {}
        self.sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in self.ours]
        for one in self.sockets:
            self.addCleanup(one.close)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.setblocking(False)
            one.bind(self.sockets[0].getsockname() if one is not self.sockets[0] else ("127.0.0.1", 0))
        self.pids = {number: self.process() for number in (0, 1)}
        self.cores = self.make()

    def make(self, sockets: list[list[socket.socket]] | None = None) -> Cores:
        """Return who keeps them."""
        own = [[one] for one in self.sockets]
        return Cores(sockets or own, self.clock.seconds, cores=self.ours, wanted=self.used.get)

    def process(self) -> int:
        """Start something that does nothing."""
        process = subprocess.Popen(["sleep", "600"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.sched_setaffinity(process.pid, self.ours)
        self.used[process.pid] = 0.0
        return process.pid

    def pass_second(self, *wanted: float, times: int = 1) -> None:
        """Let a second pass in which the workers want so much of a core each."""
        for _ in range(times):
            for pid, share in zip(self.pids.values(), wanted or (0.0, 0.0), strict=True):
                self.used[pid] += share
            self.clock.advance(1)
            self.cores.look(self.pids)

    def on(self) -> list[set[int]]:
        """Return where each worker may run."""
        return [os.sched_getaffinity(pid) for pid in self.pids.values()]

    def taken(self, core: int, clients: int = 40) -> list[int]:
        """Send datagrams on one core, each from another port; return how many each worker has."""
        with on_core(core):
            for _ in range(clients):
                with socket.socket(type=socket.SOCK_DGRAM) as client:
                    client.sendto(b"?", self.sockets[0].getsockname())
        had = [0, 0]
        for number, one in enumerate(self.sockets):
            while True:
                try:
                    one.recv(10)
                except BlockingIOError:
                    break
                had[number] += 1
        return had

    def test_kept(self) -> None:
        """Each worker runs on one core, and has what that core takes in."""
        self.pass_second()
        self.assertTrue(self.cores.kept)
        self.assertEqual(self.on(), [{core} for core in self.ours])
        self.assertEqual([self.taken(core) for core in self.ours], [[40, 0], [0, 40]])

    def test_fair(self) -> None:
        """However much the workers have to do, they stay where they are while they have about the same."""
        self.pass_second()
        self.pass_second(1.0, 0.6, times=20)
        self.pass_second(0.1, 0.0, times=20)
        self.assertTrue(self.cores.kept)

    def test_unfair(self) -> None:
        """Where one has too much to do and another little, the kernel deals out by addresses, for a while."""
        self.pass_second()
        self.pass_second(0.9, 0.1, times=PATIENCE - 1)
        self.pass_second(0.5, 0.5)
        self.pass_second(0.1, 0.9, times=PATIENCE - 1)
        self.assertTrue(self.cores.kept)
        rest = REST[0]
        for _ in range(2):
            self.pass_second(0.5, 0.5)
            self.pass_second(0.1, 0.9, times=PATIENCE)
            self.assertFalse(self.cores.kept)
            self.assertEqual(self.on(), [set(self.ours)] * 2)
            self.assertTrue(all(self.taken(self.ours[0])))
            self.clock.advance(rest - 2)
            self.pass_second()
            self.assertFalse(self.cores.kept)
            self.pass_second()
            self.assertTrue(self.cores.kept)
            rest *= 2

    def test_rests_no_longer(self) -> None:
        """The wait between two attempts has an end."""
        for _ in range(12):
            self.pass_second(times=2)
            self.pass_second(0.9, 0.0, times=PATIENCE)
            self.assertFalse(self.cores.kept)
            self.clock.advance(REST[1])

    def test_another_process(self) -> None:
        """The next process of a worker is kept where the one before was; one that is missing is no reason to judge."""
        self.pass_second()
        gone = self.pids.pop(0)
        for _ in range(2 * PATIENCE):
            self.used[self.pids[1]] += 1
            self.clock.advance(1)
            self.cores.look(self.pids)
        self.pids = {0: self.process(), 1: self.pids[1]}
        self.pass_second()
        self.assertEqual(self.on(), [{core} for core in self.ours])
        self.assertNotIn(gone, self.pids.values())
        self.pass_second(1.0, 1.0, times=PATIENCE)
        self.assertTrue(self.cores.kept)

    def test_ended(self) -> None:
        """A worker that has just ended keeps nothing from being done."""
        self.pass_second()
        ended = subprocess.Popen(["true"])
        ended.wait()
        self.pids[0], self.used[ended.pid] = ended.pid, 0.0
        self.pass_second()
        self.assertTrue(self.cores.kept)

    def test_not_all_serve(self) -> None:
        """Nothing is done before all workers serve."""
        self.cores.look({0: self.pids[0]})
        self.assertFalse(self.cores.kept)

    def test_no_fit(self) -> None:
        """Workers that read the same sockets, or are fewer or more than the cores, run where they like."""
        shared = self.make([[self.sockets[0]], [self.sockets[0]]])
        more = self.make([[one] for one in (*self.sockets, socket.socket())])
        self.addCleanup(more._sockets[2][0].close)
        for cores in (shared, more):
            cores.look(self.pids)
            self.assertFalse(cores.kept)
        self.assertEqual(self.on(), [set(self.ours)] * 2)

    def test_refused(self) -> None:
        """A system that does not let us, or does not tell how the workers do, is asked once."""
        self.sockets[1].close()
        self.pass_second(times=3)
        self.assertEqual((self.cores.kept, self.on()), (False, [set(self.ours)] * 2))

    def test_refused_later(self) -> None:
        """So is one that does not let us any more."""
        self.pass_second()
        self.cores._all = (4095, 4096)
        self.pids[0] = self.process()
        self.pass_second(times=3)
        self.assertEqual((self.cores.kept, self.on()[1]), (False, {self.ours[1]}))
        self.assertTrue(all(self.taken(self.ours[0])))

    def test_not_told(self) -> None:
        """Where nothing tells how much the workers want, they run where they like."""
        self.used.clear()
        self.cores.look(self.pids)
        self.assertEqual((self.cores.kept, self.on()), (False, [set(self.ours)] * 2))


class Telling(SynchronousTestCase):
    """What the system says."""

    def test_wanted(self) -> None:
        """What a process wanted grows while it runs; of one that is gone nothing is known."""
        before = waited_or_run(os.getpid())
        if before is None:
            raise SkipTest("this kernel does not say how long a process waits for a core: CONFIG_SCHED_INFO")
        sum(range(1_000_000))
        self.assertGreater(waited_or_run(os.getpid()) or 0.0, before)
        gone = subprocess.Popen(["true"])
        gone.wait()
        self.assertIsNone(waited_or_run(gone.pid))
