"""Where helm has a cluster, the chart finds the cluster's DNS by itself."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.helm.chart import CHART, Refused, run

KINDS = {
    "v1": ("Service", "ConfigMap", "ServiceAccount", "Secret"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
}


def discovery() -> dict[str, Any]:
    """Return what an API server says of itself to those who ask what it knows."""
    pages: dict[str, Any] = {
        "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
    }
    groups = []
    for version, kinds in KINDS.items():
        named = [
            {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get", "list"]} for kind in kinds
        ]
        page = {"kind": "APIResourceList", "groupVersion": version, "resources": named}
        pages[f"/{'apis' if '/' in version else 'api'}/{version}"] = page
        if "/" in version:
            one = {"groupVersion": version, "version": "v1"}
            groups.append({"name": version.partition("/")[0], "versions": [one], "preferredVersion": one})
    pages["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return pages


class Api(BaseHTTPRequestHandler):
    """As much of an API server as helm asks for; there is none to be had that runs here."""

    pages: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        """Give a page, or say that there is none."""
        page = self.pages.get(self.path.partition("?")[0])
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(page or missing).encode()
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class LookUp(SynchronousTestCase):
    """The Service of the cluster's DNS."""

    def rendered(self, **spec: str) -> str:
        """Return what helm renders in a cluster whose DNS has this Service, or none."""
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns"}, "spec": spec}
        return self.in_cluster({"/api/v1/namespaces/kube-system/services/kube-dns": service} if spec else {})

    def in_cluster(self, found: dict[str, Any]) -> str:
        """Return what helm renders in a cluster that has these objects, by their paths."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Api", (Api,), {"pages": discovery() | found}))
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return run(
            *("template", "heimdall", str(CHART), "--namespace=dns", "--dry-run=server"),
            *("--disable-openapi-validation", f"--kube-apiserver=http://127.0.0.1:{server.server_port}"),
        )

    def test_found(self) -> None:
        """Its address is where names of the cluster go, without a word in the values."""
        documents = yaml.safe_load_all(self.rendered(clusterIP="10.43.0.10"))
        [toml] = [one["data"]["heimdall.toml"] for one in documents if "heimdall.toml" in (one or {}).get("data", {})]
        self.assertIn('"cluster.local" = ["10.43.0.10"]', toml)
        self.assertIn('resolver = ["10.43.0.10"]', toml)

    def test_secrets_stay(self) -> None:
        """What was drawn once stays: an upgrade finds the Secret that there is, and changes nothing of it."""
        dns = "/api/v1/namespaces/kube-system/services/kube-dns"
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns"},
            "spec": {"clusterIP": "10.43.0.10"},
        }

        def secret(objects: dict[str, Any]) -> dict[str, str]:
            [found] = [
                one for one in yaml.safe_load_all(self.in_cluster(objects)) if (one or {}).get("kind") == "Secret"
            ]
            data: dict[str, str] = found["data"]
            return data

        first = secret({dns: service})
        owner = {"meta.helm.sh/release-name": "heimdall", "meta.helm.sh/release-namespace": "dns"}
        metadata = {
            "name": "heimdall-secrets", "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": owner,
        }  # fmt: skip
        there = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": first}
        path = "/api/v1/namespaces/dns/secrets/heimdall-secrets"
        self.assertEqual(secret({dns: service, path: there}), first)
        self.assertNotEqual(secret({dns: service}), first)
        half = {**there, "data": {"seal": first["seal"]}}
        self.assertEqual(secret({dns: service, path: half})["seal"], first["seal"])

    def test_missing(self) -> None:
        """Where it is called otherwise, or has no address, that is said."""
        for spec in ({}, {"clusterIP": "None"}):
            error = self.assertRaises(Refused, self.rendered, **spec)
            self.assertIn("clusterDNS.addresses is not set", str(error))
