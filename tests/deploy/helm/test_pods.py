"""The pods are as unprivileged as they can be, and come and go as a node does."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.settings import Settings
from heimdall.station import LAST_WORDS
from tests.deploy.helm.chart import CHART, Rendered, render, rendered
from tests.deploy.helm.test_objects import each
from tests.house.tree import ROOT


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a pod, those that only prepare it too."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def taken(whole: Rendered) -> set[tuple[str, str]]:
    """Return the Secrets, and the keys in them, that the pods of the nodes are given."""
    return {
        (source["secret"]["name"], item["key"])
        for volume in whole.nodes["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }


class Privileges(SynchronousTestCase):
    """The Pod Security Standard called restricted, and more."""

    def test_restricted(self) -> None:
        """Not root, no way to become it, no capability, the default seccomp profile, a read-only root."""
        for case, whole in each():
            for workload in whole.workloads:
                pod = workload["spec"]["template"]["spec"]
                self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                for container in containers(pod):
                    context = container["securityContext"]
                    self.assertEqual(context["capabilities"]["drop"], ["ALL"])
                    self.assertFalse(context["allowPrivilegeEscalation"])
                    self.assertTrue(context["readOnlyRootFilesystem"])
                    if not pod.get("hostNetwork"):
                        self.assertTrue(pod["securityContext"]["runAsNonRoot"], case)
                        self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                        self.assertNotIn("add", context["capabilities"])

    def test_host_network(self) -> None:
        """In the network of the host, root has one capability and no more: for port 53, and before for the address."""
        pod = rendered("daemonset-host").nodes["spec"]
        added = {one["name"]: one["securityContext"]["capabilities"]["add"] for one in containers(pod)}
        self.assertEqual(added, {"interface": ["NET_ADMIN"], "heimdall": ["NET_BIND_SERVICE"]})

    def test_nothing_of_kubernetes(self) -> None:
        """No pod has a token for the API of Kubernetes, nor the variables of Services."""
        for _, whole in each():
            for workload in whole.workloads:
                pod = workload["spec"]["template"]["spec"]
                self.assertEqual((pod["automountServiceAccountToken"], pod["enableServiceLinks"]), (False, False))

    def test_secrets(self) -> None:
        """No password is anywhere but in a Secret: secrets are files, for their reader's group alone."""
        for _, whole in each():
            for secret in whole.all("Secret"):
                for text in secret["data"].values():
                    others = [one for one in whole.documents if one is not secret]
                    self.assertNotIn(b64decode(text).decode(), str(others))
                    self.assertNotIn(text, str(others))
            for workload in whole.workloads:
                for volume in workload["spec"]["template"]["spec"]["volumes"]:
                    secret = volume.get("projected") or volume.get("secret")
                    if secret:
                        self.assertEqual(secret["defaultMode"], 0o440)

    def test_made(self) -> None:
        """Where no Secret is named one is made, by chance and for good: a password of Redis, and what seals answers."""
        whole, again = (render(CHART / "ci" / "default.yaml") for _ in range(2))
        [secret], [other] = whole.all("Secret"), again.all("Secret")
        self.assertEqual(secret["metadata"]["name"], "heimdall-secrets")
        self.assertEqual((set(secret["data"]), secret["immutable"]), ({"redis-password", "seal"}, True))
        self.assertEqual(secret["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        drawn = [*secret["data"].values(), *other["data"].values()]
        self.assertEqual(len(set(drawn)), 4)
        self.assertTrue(all(len(b64decode(text)) >= 32 for text in drawn))
        self.assertEqual(taken(whole), {("heimdall-secrets", "redis-password"), ("heimdall-secrets", "seal")})
        self.assertIn('password_file = "/run/secrets/heimdall/redis-password"', whole.toml)
        self.assertIn('secret_file = "/run/secrets/heimdall/seal"', whole.toml)
        self.assertIn("redis://heimdall@", whole.toml)
        redis = whole.one("StatefulSet", "heimdall-redis")["spec"]["template"]["spec"]
        [password] = [one["secret"] for one in redis["volumes"] if "secret" in one]
        # Redis itself does not get what seals the answers.
        self.assertEqual([item["key"] for item in password["items"]], ["redis-password"])
        self.assertIn("user default off", redis["containers"][0]["args"][0])

    def test_own_secrets(self) -> None:
        """Secrets that are named are taken instead; with all of them named none is made, and so without Redis."""
        for case, made in (
            ("policies", False),
            ("daemonset-host", False),
            ("redis-off", False),
            ("external-cluster", True),
        ):
            whole = rendered(case)
            self.assertEqual(bool(whole.all("Secret")), made, case)
            self.assertEqual("heimdall-secrets" in {name for name, _ in taken(whole)}, made, case)
        self.assertIn(("heimdall-seal", "secret"), taken(rendered("policies")))
        self.assertIn(("heimdall-redis", "password"), taken(rendered("policies")))
        default = CHART / "ci" / "default.yaml"
        whole = render(default, seal={"enabled": False}, redis={"auth": {"enabled": False}})
        self.assertEqual((whole.all("Secret"), taken(whole)), ([], set()))
        self.assertNotIn("_file", whole.toml)
        self.assertIn("redis://heimdall-redis", whole.toml)

    def test_bounds(self) -> None:
        """Every container says how much memory it takes at most."""
        for case, whole in each():
            for workload in whole.workloads:
                for container in containers(workload["spec"]["template"]["spec"]):
                    self.assertIn("memory", container["resources"]["limits"], case)


class Life(SynchronousTestCase):
    """From the start of a pod to its end."""

    def test_end(self) -> None:
        """A pod is killed only after it has been taken out of the Services and has answered what was asked."""
        for _, whole in each():
            pod = whole.nodes["spec"]
            last = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            needed = last + Settings().fetch.deadline + 2 * LAST_WORDS + 1.0
            self.assertGreater(pod["terminationGracePeriodSeconds"], needed)

    def test_names(self) -> None:
        """A node is called as its pod is, and tells the others the address of its pod."""
        for _, whole in each():
            paths = {
                one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"]
                for one in whole.nodes["spec"]["containers"][0]["env"]
                if "valueFrom" in one
            }
            self.assertEqual(paths, {"HEIMDALL_PEERS_NODE": "metadata.name", "POD_IP": "status.podIP"})

    def test_another_configuration(self) -> None:
        """Another configuration makes other pods, and another number of them does not."""

        def sum_of(whole: Rendered) -> str:
            return str(whole.nodes["metadata"]["annotations"]["checksum/config"])

        default = CHART / "ci" / "default.yaml"
        self.assertNotEqual(sum_of(render(default, config={"cache": {"memory": "64MB"}})), sum_of(rendered("default")))
        self.assertEqual(sum_of(render(default, replicas=7)), sum_of(rendered("default")))

    def test_rolling(self) -> None:
        """A Deployment starts a new pod before it ends an old one; no more than one may be evicted at once."""
        whole = rendered("default")
        rolling = whole.one("Deployment")["spec"]["strategy"]["rollingUpdate"]
        self.assertEqual(rolling, {"maxUnavailable": 0, "maxSurge": 1})
        self.assertEqual(whole.one("PodDisruptionBudget")["spec"]["maxUnavailable"], 1)
        self.assertEqual(rendered("daemonset-local").all("PodDisruptionBudget"), [])

    def test_apart(self) -> None:
        """Pods of a Deployment keep apart, by host as far as that goes, or in any case, and over the zones."""
        for case, how in (("default", "preferred"), ("redis-off", "required")):
            pod = rendered(case).nodes["spec"]
            self.assertEqual(list(pod["affinity"]["podAntiAffinity"]), [f"{how}DuringSchedulingIgnoredDuringExecution"])
            [spread] = pod["topologySpreadConstraints"]
            self.assertEqual(spread["topologyKey"], "topology.kubernetes.io/zone")

    def test_node_local(self) -> None:
        """A DaemonSet answers on the one address of each host: led there by the network plugin, or by itself."""
        ports = rendered("daemonset-local").nodes["spec"]["containers"][0]["ports"]
        led = [(port["protocol"], port["hostIP"], port["hostPort"]) for port in ports if "hostPort" in port]
        self.assertEqual(led, [("UDP", "169.254.20.10", 53), ("TCP", "169.254.20.10", 53)])
        whole = rendered("daemonset-host")
        self.assertTrue(whole.nodes["spec"]["hostNetwork"])
        self.assertIn('listen = ["169.254.20.10:53"]', whole.toml)
        # Its Service would lead to an address of the host that nobody serves.
        self.assertEqual(
            [one["metadata"]["name"] for one in whole.all("Service")], ["heimdall-redis", "heimdall-nodes"]
        )

    def test_user_of_redis(self) -> None:
        """The user that the nodes are in the chart's Redis may do what the page on Redis says, and no more."""
        page = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
        [rights] = re.findall(r"^user heimdall on >password (.*)$", page, re.M)
        [container] = rendered("policies").one("StatefulSet", "heimdall-redis")["spec"]["template"]["spec"][
            "containers"
        ]
        self.assertIn(f'echo "user heimdall on #$hash {rights}"', container["args"][0])

    def test_redis_of_the_record(self) -> None:
        """Redis is as it was decided: on, persistent with 10Gi of append-only file, 256Mi and a tenth of a core."""
        whole = rendered("default")
        redis = whole.one("StatefulSet", "heimdall-redis")["spec"]
        [claim] = redis["volumeClaimTemplates"]
        self.assertEqual(claim["spec"]["resources"]["requests"], {"storage": "10Gi"})
        [container] = redis["template"]["spec"]["containers"]
        self.assertEqual(container["resources"]["requests"], {"memory": "256Mi", "cpu": "100m"})
        self.assertIn("\nappendonly yes\n", whole.one("ConfigMap", "heimdall-redis")["data"]["redis.conf"])
        for case in ("redis-off", "external-sentinel-tls", "external-cluster"):
            self.assertEqual(rendered(case).all("StatefulSet"), [])
