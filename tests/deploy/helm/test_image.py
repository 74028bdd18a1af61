"""The chart fits the image that deploy/container makes."""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.helm.chart import rendered
from tests.deploy.helm.test_live import IMAGE
from tests.house.tree import ROOT


class Image(SynchronousTestCase):
    """What the chart says of the container, and what the image says of itself."""

    def setUp(self) -> None:
        self.made = (
            (ROOT / "deploy" / "container" / "Containerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
        )
        self.pod = rendered("default").nodes["spec"]
        [self.container] = self.pod["containers"]

    def said(self, what: str) -> str:
        """Return the one line of the image's last stage that begins with a word."""
        [line] = re.findall(rf"^{what} (.*)$", self.made, re.M)
        return str(line)

    def test_command(self) -> None:
        """The pod runs what the image would run, as whom it would run it."""
        self.assertEqual(self.container["command"], json.loads(self.said("ENTRYPOINT")))
        security = self.pod["securityContext"]
        self.assertEqual(f"{security['runAsUser']}:{security['runAsGroup']}", self.said("USER"))

    def test_ports(self) -> None:
        """The ports are those that the image says it serves."""
        ports = {f"{port['containerPort']}/{port['protocol'].lower()}" for port in self.container["ports"]}
        self.assertEqual(ports, set(self.said("EXPOSE").split()))

    def test_environment(self) -> None:
        """What the image sets of the configuration is emptied, so that it does not go before the chart's file."""
        in_image = dict(re.findall(r"^ +(HEIMDALL_\w+)=(\S+)", self.made, re.M))
        self.assertEqual(in_image, IMAGE)
        emptied = {one["name"] for one in self.container["env"] if one.get("value") == ""}
        self.assertEqual(emptied, set(in_image))
