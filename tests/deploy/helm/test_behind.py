"""Heimdall behind a DNS server that forwards to it, as behind CoreDNS: swapped in and out; nothing goes round."""

from __future__ import annotations

import shutil
import subprocess
import tomllib

import dns.exception
import dns.message
import dns.query
import dns.rcode
from twisted.trial.unittest import SkipTest

from tests.deploy.helm.chart import render
from tests.deploy.helm.test_live import Pod
from tests.ports import free_port
from tests.redisserver import wait_for
from tests.running import Running
from tests.slowup import SlowUpstream

CLUSTER = "10.96.0.10"

CONFIG = """
server:
    interface: 127.0.0.1@{port}
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    do-not-query-localhost: no
    module-config: "iterator"
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
    access-control: 127.0.0.0/8 allow
    local-zone: "cluster.local." static
    local-data: "kubernetes.default.svc.cluster.local. 5 A 10.96.0.1"
    local-zone: "10.in-addr.arpa." nodefault
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{forward}
"""
"""What a Corefile says with kubernetes, cache and forward, as Unbound says it: there is no CoreDNS to be had here."""


class Behind(Pod):
    """The cluster's DNS, Heimdall and an upstream."""

    def setUp(self) -> None:
        super().setUp()
        self.unbound = shutil.which("unbound") or shutil.which("unbound", path="/usr/sbin") or ""
        if not self.unbound:
            raise SkipTest("no unbound: apt-get install unbound")
        self.upstream = SlowUpstream(0.001, 3600)
        self.addCleanup(self.upstream.stop)
        self.cluster = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def forward(self, port: int) -> None:
        """Start the cluster's DNS, forwarding to a port; in place of the one that runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
        file = self.folder / "unbound.conf"
        file.write_text(CONFIG.format(port=self.cluster, folder=self.folder, forward=port), encoding="utf-8")
        self.process = subprocess.Popen([self.unbound, "-d", "-c", str(file)], stderr=subprocess.DEVNULL)
        self.addCleanup(self.process.wait, 60)
        self.addCleanup(self.process.terminate)
        wait_for(lambda: self.ask("kubernetes.default.svc.cluster.local", patience=1.0).answer)

    def ask(self, name: str, qtype: str = "A", patience: float = 60.0) -> dns.message.Message:
        """Ask the cluster's DNS, as a pod does."""
        try:
            return dns.query.udp(dns.message.make_query(name, qtype), "127.0.0.1", port=self.cluster, timeout=patience)
        except dns.exception.Timeout as error:
            raise OSError(str(error)) from None

    def test_in_and_out(self) -> None:
        """Names of the cluster come from its DNS, others from Heimdall, none goes round; swapped out, none comes."""
        whole = render(clusterDNS={"addresses": [CLUSTER]}, redis={"enabled": False})
        routes = tomllib.loads(whole.toml)["fetch"]["routes"]
        self.assertEqual(routes, {"cluster.local": [CLUSTER]})
        text = whole.toml.replace(f'"{CLUSTER}"', f'"127.0.0.1:{self.cluster}"')
        file = self.write("/etc/heimdall/heimdall.toml", text)
        node = Running(f"--upstream={self.upstream.text}", environ={"HEIMDALL_CONFIG": str(file)})
        self.addCleanup(node.clean)

        self.forward(node.port)
        self.assertEqual(self.ask("www.zone.example").rcode(), dns.rcode.NOERROR)
        self.assertEqual(node.metric("heimdall_accept_answers_total", origin="upstream"), 1)
        for asked in (self.ask, node.ask):
            self.assertIn("10.96.0.1", str(asked("kubernetes.default.svc.cluster.local").answer[0]))
            self.assertEqual(asked("nothing.default.svc.cluster.local").rcode(), dns.rcode.NXDOMAIN)
        # An address that the cluster does not know: its DNS passes it on, and Heimdall ends it.
        self.assertEqual(self.ask("9.9.9.10.in-addr.arpa", "PTR").rcode(), dns.rcode.NXDOMAIN)
        self.assertEqual(node.metric("heimdall_fetch_routed_total", to="route"), 2)

        asked_so_far = node.metric("heimdall_accept_queries_total")
        self.forward(int(self.upstream.text.rpartition(":")[2]))
        self.assertEqual(self.ask("www2.zone.example").rcode(), dns.rcode.NOERROR)
        self.assertEqual(node.metric("heimdall_accept_queries_total"), asked_so_far)
        self.assertEqual(node.trouble(), [])
