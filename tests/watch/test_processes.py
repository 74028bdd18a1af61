"""What processes use together."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from heimdall.watch.processes import Processes

BUSY = "x = 'x' * 50_000_000\nfor _ in range(3_000_000): pass\nprint('there', flush=True)\ninput()"


def used(*others: int) -> dict[str, float]:
    """Return what is shown."""
    shown = Processes(lambda: others).collect()
    return {sample.name: sample.value for metric in shown for sample in metric.samples}


class Together(SynchronousTestCase):
    """This process and a child."""

    def test_child(self) -> None:
        """The memory and the CPU of a child count as ours, its CPU also when it has ended."""
        before = used()
        with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            during = used(child.pid)
            child.communicate(b"\n")
        after = used(child.pid)
        self.assertGreater(during["process_resident_memory_bytes"], before["process_resident_memory_bytes"] + 45e6)
        self.assertGreater(during["process_open_fds"], before["process_open_fds"])
        self.assertGreater(during["process_cpu_seconds_total"], before["process_cpu_seconds_total"])
        self.assertGreaterEqual(after["process_cpu_seconds_total"], during["process_cpu_seconds_total"])
        self.assertLess(after["process_resident_memory_bytes"], during["process_resident_memory_bytes"] - 45e6)
        self.assertAlmostEqual(during["process_start_time_seconds"], before["process_start_time_seconds"], delta=2)
