"""A real Prometheus that scrapes nodes, reads the alerts, and is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.grafana.rules import ALERTS, tool
from tests.ports import free_port


class Prometheus:
    """One, with a store of its own.

    :param targets: the ports of the nodes' HTTP on this machine; the job is called heimdall.
    """

    def __init__(self, targets: Sequence[int]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="heimdall-prometheus-"))
        self._port = free_port()
        scrape = {
            "job_name": "heimdall",
            "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}],
        }
        whole = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [scrape],
            "rule_files": [str(ALERTS.resolve())],
        }
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(whole), encoding="utf-8")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._folder,
            )  # fmt: skip

    def stop(self) -> None:
        """End it, and remove its files."""
        self._process.terminate()
        self._process.wait(120)
        shutil.rmtree(self._folder, ignore_errors=True)

    def get(self, path: str, **asked: str) -> Any:
        """Return what its API says; raises OSError."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=60) as page:
            return json.load(page)["data"]

    def ask(self, expr: str) -> list[Any]:
        """Return the series that an expression gives now; raises OSError where it is none."""
        result: list[Any] = self.get("query", query=expr)["result"]
        return result
