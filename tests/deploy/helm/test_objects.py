"""What the chart renders is what Kubernetes takes, and its parts fit together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.helm.chart import CASES, CHART, NAMESPACE, Refused, Rendered, render, rendered, run

VERSIONS = ("1.30", "1.37")
"""The oldest Kubernetes that the chart allows, and the newest there is a schema of."""

OPERATOR = json.loads(Path(__file__).with_name("operator.json").read_text(encoding="utf-8"))


def each() -> Iterator[tuple[str, Rendered]]:
    """Yield every case."""
    assert len(CASES) >= 8
    for path in CASES:
        yield path.stem, rendered(path.stem)


def fits(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    """Say whether a selector selects what has these labels."""
    wanted = selector.get("matchLabels", {})
    assert not set(selector) - {"matchLabels"}, selector
    return all(labels.get(name) == value for name, value in wanted.items())


def found(where: object, name: str) -> Iterator[Any]:
    """Yield every value of a field, however deep it lies."""
    if isinstance(where, dict):
        for key, value in where.items():
            if key == name:
                yield value
            yield from found(value, name)
    elif isinstance(where, list):
        for item in where:
            yield from found(item, name)


class Objects(SynchronousTestCase):
    """What holds for all values that people use."""

    def test_schemas(self) -> None:
        """Every object is one by the strict schemas of the oldest and the newest Kubernetes; no field is a stray."""
        for case, whole in each():
            for one in whole.documents:
                if one["apiVersion"].startswith("monitoring.coreos.com/"):
                    jsonschema.validate(one, OPERATOR[one["kind"]])
                    continue
                for version in VERSIONS:
                    try:
                        kubernetes_validate.validate(one, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        self.fail(f"{case}: {one['kind']}, Kubernetes {version}: {error.message} at {list(error.path)}")

    def test_lint(self) -> None:
        """Helm's own linter has nothing against the chart."""
        for path in CASES:
            self.assertIn("0 chart(s) failed", run("lint", "--strict", str(CHART), f"--values={path}"))

    def test_names(self) -> None:
        """Each object is there once, in the namespace of the release, and says whose it is."""
        for case, whole in each():
            seen = [(one["kind"], one["metadata"]["name"]) for one in whole.documents]
            self.assertEqual(len(seen), len(set(seen)), case)
            for one in whole.documents:
                self.assertEqual(one["metadata"]["namespace"], NAMESPACE)
                self.assertEqual(one["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm")

    def test_selectors(self) -> None:
        """Services, policies, budgets and what keeps pods apart select the pods that they are about, and no others."""
        for case, whole in each():
            labels = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in whole.workloads}
            for one in whole.documents:
                own = one["metadata"]["name"].removesuffix("-nodes")
                for selector in selectors(one):
                    selected = {name for name, has in labels.items() if fits(has, selector)}
                    self.assertEqual(selected, {own}, (case, one["kind"], one["metadata"]["name"]))

    def test_ports(self) -> None:
        """Ports that are called by a name are ports of the pods: in Services, policies and probes."""
        for case, whole in each():
            for workload in whole.workloads:
                name = workload["metadata"]["name"]
                [container] = workload["spec"]["template"]["spec"]["containers"]
                ports = {port["name"]: port["protocol"] for port in container["ports"]}
                probed = [*found(container, "httpGet"), *found(container, "tcpSocket")]
                self.assertTrue(probed)
                self.assertLessEqual({probe["port"] for probe in probed}, set(ports), case)
                for service in whole.all("Service"):
                    if service["metadata"]["name"].removesuffix("-nodes") == name:
                        for port in service["spec"]["ports"]:
                            self.assertEqual(ports[port["targetPort"]], port["protocol"], case)
                for policy in whole.all("NetworkPolicy"):
                    if policy["metadata"]["name"] == name:
                        for rule in policy["spec"]["ingress"]:
                            for port in rule["ports"]:
                                self.assertEqual(ports[port["port"]], port["protocol"], case)

    def test_volumes(self) -> None:
        """Every mount has its volume, and every volume is mounted."""
        for case, whole in each():
            for workload in whole.workloads:
                pod = workload["spec"]["template"]["spec"]
                volumes = {volume["name"] for volume in pod["volumes"]}
                volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
                mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
                self.assertEqual(mounted, volumes, case)

    def test_monitor(self) -> None:
        """The ServiceMonitor selects the Service of all nodes alone, by a port it has; the job is called heimdall."""
        whole = rendered("monitoring")
        [monitor] = whole.all("ServiceMonitor")
        services = [one for one in whole.all("Service") if fits(one["metadata"]["labels"], monitor["spec"]["selector"])]
        self.assertEqual([one["metadata"]["name"] for one in services], ["resolver-nodes"])
        self.assertIn(monitor["spec"]["endpoints"][0]["port"], [port["name"] for port in services[0]["spec"]["ports"]])
        self.assertEqual(services[0]["metadata"]["labels"][monitor["spec"]["jobLabel"]], "heimdall")

    def test_who_reaches_redis(self) -> None:
        """Of all pods only the nodes reach Redis, which itself reaches nobody; of hosts only those that were named."""
        for case, peers in (
            ("default", [{"podSelector": {"matchLabels": rendered("default").nodes["metadata"]["labels"]}}]),
            ("daemonset-host", [{"ipBlock": {"cidr": "192.0.2.0/24"}}]),
        ):
            policy = rendered(case).one("NetworkPolicy", "heimdall-redis")["spec"]
            self.assertEqual([rule["from"] for rule in policy["ingress"]], [peers])
            self.assertEqual((policy["policyTypes"], policy.get("egress")), (["Ingress", "Egress"], None))

    def test_who_reaches_the_nodes(self) -> None:
        """Anybody asks unless clients are named; metrics are for those named, else for this namespace."""
        dns, http = rendered("default").one("NetworkPolicy")["spec"]["ingress"]
        self.assertEqual((dns.get("from"), http["from"]), (None, [{"podSelector": {}}]))
        dns, http = rendered("policies").one("NetworkPolicy")["spec"]["ingress"]
        self.assertEqual([list(peer) for peer in dns["from"]], [["namespaceSelector"], ["ipBlock"]])
        self.assertEqual(list(http["from"][0]), ["namespaceSelector"])

    def test_who_scrapes(self) -> None:
        """With a ServiceMonitor the Prometheus of the Operator reaches the metrics, unless others are named."""
        scraped = rendered("monitoring")
        _, http = scraped.one("NetworkPolicy", "resolver")["spec"]["ingress"]
        prometheus = {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
        both = {"namespaceSelector": {}, "podSelector": prometheus}
        self.assertEqual(http["from"], [{"podSelector": {}}, both])
        [monitor] = scraped.all("ServiceMonitor")
        self.assertIn(monitor["spec"]["endpoints"][0]["port"], [port["port"] for port in http["ports"]])
        named = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
        whole = render(CHART / "ci" / "monitoring.yaml", networkPolicy={"metrics": named})
        _, http = whole.one("NetworkPolicy", "resolver")["spec"]["ingress"]
        self.assertEqual(http["from"], named)

    def test_long_names(self) -> None:
        """However long the name of a release is, a pod's name fits the registry, and all names fit Kubernetes."""
        whole = render(CHART / "ci" / "default.yaml", release="a-very-long-name-of-a-release-that-goes-on-and-on")
        longest = max(len(one["metadata"]["name"]) for one in whole.documents)
        self.assertLessEqual(longest, 63 - len("-0"))
        [deployment] = whole.all("Deployment")
        self.assertLessEqual(len(deployment["metadata"]["name"] + "-0123456789-abcde"), 64)
        for one in whole.documents:
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)

    def test_two_releases(self) -> None:
        """Two releases in one namespace have nothing in common, and their pods are told apart."""
        one, two = (render(CHART / "ci" / "default.yaml", release=name) for name in ("blue", "green"))
        names = [{(each["kind"], each["metadata"]["name"]) for each in whole.documents} for whole in (one, two)]
        self.assertEqual(names[0] & names[1], set())
        selector = one.one("Deployment", "blue-heimdall")["spec"]["selector"]
        self.assertFalse(fits(two.nodes["metadata"]["labels"], selector))

    def test_policies_need_nodes(self) -> None:
        """In the network of the host, where no policy knows pods, the networks of the hosts have to be named."""
        error = self.assertRaises(Refused, render, CHART / "ci" / "daemonset-host.yaml", networkPolicy={"nodes": []})
        self.assertIn("networkPolicy.nodes is not set", str(error))


def selectors(one: Mapping[str, Any]) -> list[Any]:
    """Return the selectors of an object that are about the pods of the workload of its name."""
    spec = one.get("spec", {})
    if one["kind"] == "Service":
        return [{"matchLabels": spec["selector"]}]
    if one["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
        return [spec["podSelector" if one["kind"] == "NetworkPolicy" else "selector"]]
    if "template" in spec:
        return [spec["selector"], *found(spec["template"], "labelSelector")]
    return []
