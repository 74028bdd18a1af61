"""The Redis of the cluster, and how fast it is when nothing but its own benchmark asks it."""

from __future__ import annotations

import re
import subprocess
from typing import Final

from tests.redisserver import RedisServer

COMMAND: Final = ("redis-benchmark", "-t", "get", "-c", "50", "-n", "100000", "-q")


class Store:
    """A redis-server, on the core that everything around the measured server has."""

    def __init__(self) -> None:
        self._server = RedisServer().start()

    @property
    def url(self) -> str:
        """Where it is."""
        return self._server.url

    def benchmark(self, core: str) -> float:
        """Return how many GET a second its own benchmark has answered, run on the core of the measured server."""
        command = ["taskset", "-c", core, *COMMAND, "-p", str(self._server.port)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(re.findall(r"GET: ([\d.]+) requests per second", told)[-1])

    def stop(self) -> None:
        """End it."""
        self._server.stop()
