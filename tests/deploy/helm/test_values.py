"""The values: all of them described, and wrong ones refused with a word that helps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.helm.chart import CASES, CHART, Refused, render
from tests.deploy.helm.keys import written
from tests.house.tree import ROOT

DEFAULT = CHART / "ci" / "default.yaml"

WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"replica": 3}, "'replica' not allowed"),
    ({"kind": "StatefulSet"}, "kind"),
    ({"replicas": "three"}, "replicas"),
    ({"replicas": -1}, "replicas"),
    ({"image": {"tags": "1"}}, "'tags' not allowed"),
    ({"image": {"digest": "sha256:abc"}}, "image/digest"),
    ({"config": {"caches": {}}}, "'caches' not allowed"),
    ({"config": {"cache": {"memry": 1}}}, "'memry' not allowed"),
    ({"config": {"cache": {"memory": "lots"}}}, "config/cache/memory"),
    ({"config": {"cache": {"stale": "yes"}}}, "config/cache/stale"),
    ({"config": {"accept": {"listen": ["0.0.0.0:53"]}}}, "'listen' not allowed"),
    ({"config": {"redis": {"secret": "a secret in plain text"}}}, "'secret' not allowed"),
    ({"config": {"fetch": {"routes": {"example": "192.0.2.1"}}}}, "config/fetch/routes/example"),
    ({"config": {"watch": {"log": "xml"}}}, "config/watch/log"),
    ({"config": {"fetch": {"upstreams": ["dns.example"]}}}, 'config.fetch.upstreams = "dns.example": expected an IP'),
    ({"clusterDNS": {"addresses": ["kube-dns.kube-system"]}}, "clusterDNS/addresses/0"),
    ({"service": {"type": "ExternalName"}}, "service/type"),
    ({"service": {"clusterIP": "dns"}}, "service/clusterIP"),
    ({"nodeLocal": {"address": "169.254.20.10"}}, "kind"),
    ({"nodeLocal": {"via": "iptables"}}, "nodeLocal/via"),
    ({"seal": {"formerKey": "former"}}, "seal/secret"),
    ({"redis": {"auth": {"password": "secret"}}}, "'password' not allowed"),
    ({"redis": {"external": {"url": "redis://heimdall:secret@redis.example"}}}, "redis/external/url"),
    ({"redis": {"external": {"url": "http://redis.example"}}}, "redis/external/url"),
    ({"redis": {"external": {"url": "redis://redis.example", "tls": {"secret": "tls"}}}}, "redis/external/url"),
    ({"redis": {"persistence": {"size": "much"}}}, "redis/persistence/size"),
    ({"redis": {"maxmemory": "256Mi"}}, "redis/maxmemory"),
    ({"antiAffinity": "yes"}, "antiAffinity"),
    ({"networkPolicy": {"clients": [{"pods": {}}]}}, "'pods' not allowed"),
    ({"networkPolicy": {"nodes": ["192.0.2.1"]}}, "networkPolicy/nodes/0"),
    ({"monitoring": {"serviceMonitor": {"interval": 30}}}, "monitoring/serviceMonitor/interval"),
    ({"resources": {"memory": "1Gi"}}, "'memory' not allowed"),
    ({"podDisruptionBudget": {"maxUnavailable": "one"}}, "podDisruptionBudget/maxUnavailable"),
    ({"terminationGracePeriodSeconds": 0}, "terminationGracePeriodSeconds"),
)


def paths(values: object, schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield each section that the schema lists the keys of: where it is, what it may hold, and what it holds."""
    if isinstance(values, dict) and "properties" in schema and at != "config":
        yield at, set(schema["properties"]) - {"global", "claims"}, set(values)
        for key, value in values.items():
            yield from paths(value, schema["properties"].get(key, {}), f"{at}.{key}".strip("."))


class Values(SynchronousTestCase):
    """values.yaml and its schema."""

    def test_wrong(self) -> None:
        """Each wrong value is refused, and what helm says names it."""
        for values, named in WRONG:
            try:
                render(DEFAULT, **values)
            except Refused as error:
                self.assertIn(named, str(error).replace(".", "/") if "/" in named else str(error), values)
            else:
                self.fail(f"{values} was taken")

    def test_all_described(self) -> None:
        """The schema and values.yaml know the same keys: none is without a default, none is unknown to the other."""
        values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
        for at, may, has in paths(values, written()):
            if not at.endswith("resources"):
                self.assertEqual(has, may, at or "the top")

    def test_explained(self) -> None:
        """Every section of values.yaml stands below a line that says what it is for, or its name says all."""
        plain = {"image", "nameOverride", "service", "resources", "podDisruptionBudget", "serviceAccount"}
        plain |= {"affinity", "networkPolicy", "monitoring", "fullnameOverride", "tolerations", "priorityClassName"}
        plain |= {"podAnnotations", "podLabels", "extraEnv", "extraVolumes", "extraVolumeMounts", "nodeSelector"}
        text = (CHART / "values.yaml").read_text(encoding="utf-8")
        for found in re.finditer(r"^(?P<above>.*)\n(?P<key>\w+):", text, re.M):
            if found["key"] not in plain and found["key"] != "topologySpreadConstraints":
                self.assertTrue(found["above"].startswith("#"), found["key"])

    def test_no_address_of_the_cluster_dns(self) -> None:
        """Without a cluster to look it up in, the address of its DNS is asked for, with the way to find it."""
        error = self.assertRaises(Refused, render)
        self.assertIn("clusterDNS.addresses is not set", str(error))
        self.assertIn("kubectl -n kube-system get service kube-dns", str(error))
        self.assertTrue(render(clusterDNS={"domain": ""}, redis={"enabled": False}).documents)

    def test_cases_say_what_they_are(self) -> None:
        """Each file of values begins with what it is an example of."""
        for path in CASES:
            self.assertRegex(path.read_text(encoding="utf-8").splitlines()[0], r"^# [A-Z].*[.:]$|^# [A-Z]", path.name)

    def test_guide(self) -> None:
        """The values that the guide shows are taken, each block by itself."""
        guide = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", guide, re.M | re.S)
        self.assertGreater(len(blocks), 4)
        for _, block in blocks:
            self.assertTrue(render(DEFAULT, **yaml.safe_load(block)).documents, block)
