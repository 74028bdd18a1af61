"""The compose file: valid, closed, and a cluster that shares its answers when it is played."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.booted import booted
from tests.deploy.image import Engine, read
from tests.house.tree import ROOT

COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"

ADDRESSES = {"redis": "10.89.0.10", "node1": "10.89.0.11", "node2": "10.89.0.12", "node3": "10.89.0.13"}
UPSTREAM = "10.89.0.20"


def filled(text: str, environ: Mapping[str, str]) -> str:
    """Return a text with its variables filled in, as compose does it."""
    return re.sub(
        r"\$\$|\$\{(\w+):-([^}]*)\}",
        lambda found: environ.get(found[1]) or found[2] if found[1] else "$",
        text,
    )


def services(**environ: str) -> dict[str, dict[str, Any]]:
    """Return the services of the file."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(filled(COMPOSE.read_text(), environ))["services"]
    return found


class Written(SynchronousTestCase):
    """The file, read."""

    def test_schema(self) -> None:
        """The file is what the specification of compose files says."""
        done = subprocess.run(
            [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_closed(self) -> None:
        """Every container is read-only and has no privilege; only nodes have ports, of loopback unless told."""
        for name, service in services().items():
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)
            self.assertTrue(all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name)
        self.assertNotIn("ports", services()["redis"])
        self.assertEqual(services()["secrets"]["network_mode"], "none")
        self.assertEqual(services()["redis"]["networks"], ["inside"])
        self.assertTrue(yaml.safe_load(COMPOSE.read_text())["networks"]["inside"]["internal"])
        self.assertIn("192.0.2.1:1053:1053/udp", services(BIND="192.0.2.1")["node1"]["ports"])

    def test_ports(self) -> None:
        """The ports of the nodes lead to those that the image serves, each host port to one node."""
        served, taken = set(read().ports), []
        for service in services().values():
            for port in service.get("ports", ()):
                place, _, inside = port.rpartition(":")
                self.assertIn(inside if "/" in inside else f"{inside}/tcp", served)
                taken.append((place, inside.partition("/")[2]))
        self.assertEqual(len(taken), 9)
        self.assertEqual(len(set(taken)), 9)

    def test_secrets(self) -> None:
        """Secrets are in volumes that one service writes before any other starts; Redis has its password alone."""
        declared = set(yaml.safe_load(COMPOSE.read_text())["volumes"])
        for name, service in services().items():
            mounted = dict(volume.split(":", 1) for volume in service["volumes"])
            self.assertLessEqual(set(mounted), declared)
            self.assertEqual(all(place.endswith(":ro") for place in mounted.values()), name != "secrets")
            given = {place.removesuffix(":ro") for place in mounted.values()}
            del service["volumes"]
            named = {found.rpartition("/")[0] for found in re.findall(r"/run/secrets/\w+/\w+", json.dumps(service))}
            self.assertLessEqual(named, given, name)
            if name != "secrets":
                waits = service["depends_on"]["secrets"]["condition"]
                self.assertEqual((waits, named), ("service_completed_successfully", given), name)
        self.assertEqual(set(services()["redis"]["volumes"]), {"redis-secrets:/run/secrets/redis:ro"})


class Played(SynchronousTestCase):
    """Redis and the three nodes, with the commands and the environment of the file."""

    def setUp(self) -> None:
        self.host = booted()
        self.engine = Engine(self.host)
        self.addCleanup(self.engine.end)
        self.engine.build()
        self.services = services(UPSTREAMS=f"{UPSTREAM}:1053")
        self.drawn = [self.draw() for _ in range(2)]
        self.host.write("/etc/hosts", "127.0.0.1 localhost\n" + f"{ADDRESSES['redis']} redis\n")

    def draw(self) -> list[str]:
        """Have the secrets drawn, as at each start; return them."""
        self.host.run("mkdir", "-p", "/run/secrets/redis", "/run/secrets/heimdall")
        self.host.run(*self.services["secrets"]["command"])
        found = self.host.run("sh", "-c", "cat /run/secrets/redis/* /run/secrets/heimdall/*")
        return found.splitlines()

    def start(self, name: str) -> None:
        """Start a service."""
        service = self.services[name]
        self.engine.run(
            name, ADDRESSES[name], service.get("command", ()), service.get("environment", {}),
            user=service.get("user", ""), writable=service.get("tmpfs", ()),
        )  # fmt: skip

    def await_true(self, what: Callable[[], object]) -> None:
        """Wait until something is true."""
        ends = time.monotonic() + 240
        while not what():
            self.assertLess(time.monotonic(), ends, self.host.run("journalctl", "--no-pager", "-n", "80"))
            time.sleep(0.2)

    def ask(self, node: str, name: str) -> str:
        """Ask a node for an address."""
        return self.host.run("dig", "+short", "+time=10", f"@{ADDRESSES[node]}", "-p", "1053", name).strip()

    def test_cluster(self) -> None:
        """What one node has learnt the others answer out of Redis, through its password and sealed; all see all."""
        told = {"HEIMDALL_ADMIT_RECORDS": "www.example 300 A 192.0.2.1"}
        self.engine.run("upstream", UPSTREAM, environ=told, options=("--no-redis", "--upstream=192.0.2.53"))
        self.start("redis")
        health = self.services["redis"]["healthcheck"]["test"]
        self.assertEqual(health[0], "CMD-SHELL")
        self.await_true(lambda: self.engine.passes("redis", "sh", "-c", health[1]))
        first, again = self.drawn
        self.assertEqual((len(set(first)), again), (3, first), "they are drawn once")
        nodes = [name for name in self.services if name.startswith("node")]
        for node in nodes:
            self.start(node)
        self.await_true(lambda: all(self.engine.healthy(node) for node in nodes))
        self.await_true(lambda: self.ask("node1", "www.example") == "192.0.2.1")
        self.engine.stop("upstream")
        for node in nodes:
            # On a busy machine Redis may be late, which without an upstream is a failure, and kept for five seconds.
            self.await_true(lambda node=node: self.ask(node, "www.example") == "192.0.2.1")  # type: ignore[misc]
        listed = json.loads(self.engine.inside("node2", "heimdall", "--json", "members"))
        self.assertEqual(([each["id"] for each in listed["members"]], listed["shared"]), (nodes, True))
        self.engine.stop("redis")
        for node in nodes:
            self.assertEqual(self.ask(node, "www.example"), "192.0.2.1", node)
            said = self.engine.stop(node)
            self.assertIn(f"container-{node}.service: Deactivated successfully", said)
            self.assertNotRegex(said, "Traceback|Unhandled|forge")
            self.assertFalse(any(secret in said for secret in first))
