"""The dashboard asks for what there is: each of its questions is put to a Prometheus that scrapes real nodes."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster import Cluster
from tests.deploy.grafana.prometheus import Prometheus
from tests.deploy.grafana.rules import DASHBOARD, alerts, dashboard, metrics, panels, tool, used
from tests.deploy.helm.chart import CHART, rendered
from tests.redisserver import wait_for

VARIABLES = {"$__rate_interval": "10s", "$job": "heimdall", "$instance": ".*"}

QUIET = {"Errors", "Rubbish", "Stale answers", "Exchanges that failed", "Asked nothing of the kind", "Datagrams"}
QUIET |= {
    "Loaded at the start",
    "Hot names told",
    "No reply at all",
    "Questions left to another node",
    "Fresh answers of other nodes",
    "Workers that serve",
    "Workers that ended",
}
"""What is only there when something goes wrong, or now and then, or where a node has several processes."""

FAULTS = "heimdall_cache_flush_errors_total"
"""Counts what goes wrong, in a panel that has something to show at all times."""

RULES = {
    "HEIMDALL_ADMIT_BLOCK": "ads.example",
    "HEIMDALL_ADMIT_RATE": "1000",
    "HEIMDALL_ADMIT_RECORDS": "host.zone.example 300 A 192.0.2.9",
}


def lost(said: object, kept: object, at: str = "") -> Iterator[str]:
    """Yield what one value has and another has not, or otherwise."""
    if isinstance(said, dict) and isinstance(kept, dict):
        for name, value in said.items():
            yield from lost(value, kept.get(name), f"{at}.{name}")
    elif isinstance(said, list) and isinstance(kept, list) and len(said) == len(kept):
        for number, (one, other) in enumerate(zip(said, kept, strict=True)):
            yield from lost(one, other, f"{at}[{number}]")
    elif said != kept:
        yield f"{at}: {said!r} became {kept!r}"


class Board(SynchronousTestCase):
    """deploy/grafana/heimdall.json"""

    def test_metrics(self) -> None:
        """Every question is about metrics that are documented, by labels that they have, and of the chosen nodes."""
        known = metrics()
        for panel in panels():
            asked = list(used(panel.expr))
            for name, labels in asked:
                self.assertIn(name, known, panel.title)
                self.assertLessEqual(labels, known[name] | {"job", "instance"}, panel.title)
                self.assertLessEqual({"job", "instance"}, labels, panel.title)
            self.assertTrue(asked or "process_" in panel.expr or "up{" in panel.expr, panel.title)

    def test_panels(self) -> None:
        """Every panel has a place of its own on the board, a title of its own, and Prometheus as its source."""
        board = dashboard()
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            self.assertEqual(taken & cells, set(), panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells
            if panel["type"] != "row":
                self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"})
        for what in ("id", "title"):
            all_of_them = [panel[what] for panel in board["panels"]]
            self.assertEqual(len(all_of_them), len(set(all_of_them)))
        self.assertEqual([one["name"] for one in board["templating"]["list"]], ["datasource", "job", "instance"])

    def test_model(self) -> None:
        """Grafana's own model of a dashboard has a place for all that this one says, and changes none of it."""
        plugins.register_default_plugins()
        kept = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard())))
        self.assertEqual(list(lost(dashboard(), kept)), [])

    def test_in_the_chart(self) -> None:
        """The chart brings this very dashboard, where Grafana's sidecar finds it."""
        self.assertEqual(DASHBOARD.resolve(), CHART / "files" / "heimdall.json")
        board = rendered("monitoring").one("ConfigMap", "resolver-dashboard")
        self.assertEqual(board["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(board["data"]["heimdall.json"].strip(), DASHBOARD.read_text(encoding="utf-8").strip())


class Asked(SynchronousTestCase):
    """Questions and alerts, in a Prometheus beside two nodes at work."""

    def setUp(self) -> None:
        tool("prometheus")
        self.cluster = self.enterContext(Cluster(2, delay=0.001, environs=(RULES,)))
        self.prometheus = Prometheus([node.http for node in self.cluster.nodes])
        self.addCleanup(self.prometheus.stop)
        self.asked = 0

    def work(self) -> None:
        """Ask every node something old, something new, something blocked, over UDP and TCP; flush."""
        for node in self.cluster.nodes:
            self.asked += 1
            for name in ("www.zone.example", f"new{self.asked}.zone.example", "ads.example"):
                node.ask(name)
            node.ask("www.zone.example", tcp=True)
        flush = f"http://127.0.0.1:{self.cluster.nodes[0].http}/api/v1/cache?name=gone{self.asked}.example"
        urllib.request.urlopen(urllib.request.Request(flush, method="DELETE"), timeout=60).close()

    def test_all(self) -> None:
        """Every question of the dashboard is understood, and answered where it has to be; so is every alert."""
        wanted = [(panel.title, self.filled(panel.expr)) for panel in panels()]
        missing: list[str] = []

        def answered() -> bool:
            self.work()
            time.sleep(0.5)  # between two scrapes there has to be something new
            missing[:] = [
                f"{title}: {expr}"
                for title, expr in wanted
                if title not in QUIET and FAULTS not in expr and not self.prometheus.ask(expr)
            ]
            return not missing

        try:
            wait_for(answered, 240)
        except AssertionError:
            self.fail("\n".join(["these have no answer:", *missing]))
        wait_for(self.judged, 60)
        firing = [one for one in self.prometheus.get("alerts")["alerts"] if one["state"] == "firing"]
        self.assertEqual(firing, [])

    def judged(self) -> bool:
        """Whether every alert has been looked at, without an error."""
        groups = self.prometheus.get("rules")["groups"]
        health = {
            rule["name"]: (rule["health"], rule.get("lastError", "")) for group in groups for rule in group["rules"]
        }
        self.assertEqual(set(health), {rule["alert"] for rule in alerts()})
        self.assertNotIn("err", {state for state, _ in health.values()}, health)
        return all(state == "ok" for state, _ in health.values())

    def filled(self, expr: str) -> str:
        """Return a question with the variables of the dashboard put in."""
        for name, value in VARIABLES.items():
            expr = expr.replace(name, value)
        return expr
