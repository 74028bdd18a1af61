"""What the chart renders runs here: its configuration in a node, its Redis with append-only file and password."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from base64 import b64decode
from pathlib import Path
from typing import Any, cast

import hiredis
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.deploy.helm.chart import Rendered, render, rendered
from tests.deploy.helm.test_objects import each
from tests.house.tree import ROOT
from tests.ports import free_port
from tests.redisserver import RedisServer, binary, make_certificates, wait_for
from tests.running import Running
from tests.slowup import SlowUpstream

SECRET = "not a secret, but as long as one"

IMAGE = {"HEIMDALL_ACCEPT_LISTEN": "0.0.0.0:1053", "HEIMDALL_WATCH_HTTP": "127.0.0.1:9053"}
"""What an image may set for those who run it by itself."""


class Pod(SynchronousTestCase):
    """A pod, with a folder for each of its volumes."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="heimdall-pod-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def mapped(self, text: str) -> str:
        """Return a text with the paths in a container as they are here."""
        for path in ("/run/secrets/heimdall", "/run/secrets/redis", "/run/redis", "/etc/redis", "/etc/heimdall"):
            text = text.replace(path, f"{self.folder}/{path[1:].replace('/', '-')}")
        return text

    def write(self, path: str, text: str) -> Path:
        """Write a file of a container."""
        file = Path(self.mapped(path))
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def mount(self, whole: Rendered) -> Path:
        """Write the configuration of a node, and a file for each secret; return where the configuration is."""
        for volume in whole.nodes["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                for item in source["secret"]["items"]:
                    self.write(
                        f"/run/secrets/heimdall/{item['path']}", self.secret(whole, source["secret"]["name"], item)
                    )
        return self.write("/etc/heimdall/heimdall.toml", self.mapped(whole.toml))

    def secret(self, whole: Rendered, secret: str, item: dict[str, str]) -> str:
        """Return what a file of a Secret holds: what the chart has made, or what somebody has."""
        made = {one["metadata"]["name"]: one["data"] for one in whole.all("Secret")}
        if secret in made:
            return b64decode(made[secret][item["key"]]).decode()
        name = item["path"]
        if not name.endswith(".pem"):
            return SECRET
        folder = self.folder / "certificates"
        if not folder.exists():
            folder.mkdir()
            make_certificates(folder)
        file = {"redis-ca.pem": "ca.pem", "redis-cert.pem": "client.pem", "redis-key.pem": "client.key"}[name]
        return (folder / file).read_text(encoding="utf-8")


class Configuration(Pod):
    """What heimdall.toml says."""

    def check(self, whole: Rendered) -> dict[str, Any]:
        """Have the pod's own command check the configuration; return the effective one."""
        file = self.mount(whole)
        [container] = whole.nodes["spec"]["containers"]
        twistd, *arguments = container["command"]
        set_here = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        environ = IMAGE | set_here | {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HEIMDALL_CONFIG": str(file)}
        done = subprocess.run(
            [str(Path(sys.executable).with_name(twistd)), *arguments, "--check"],
            env=environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return tomllib.loads(done.stdout)

    def test_accepted(self) -> None:
        """Every case is a configuration that a node takes as it stands, by the very command of the pod."""
        for case, whole in each():
            shown, said = self.check(whole), tomllib.loads(self.mapped(whole.toml))
            for path in ("accept.listen", "watch.http", "redis.enabled", "watch.log"):
                section, key = path.split(".")
                self.assertEqual(shown[section][key], said[section][key], (case, path))

    def test_names_of_the_cluster(self) -> None:
        """Names of the cluster go to its own DNS, and so does the look-up of its Redis; no others do."""
        shown = self.check(rendered("daemonset-local"))
        cluster = ["10.96.0.10:53"]
        self.assertEqual(shown["fetch"]["routes"], {"cluster.local": cluster, "10.in-addr.arpa": cluster})
        self.assertEqual(shown["redis"]["resolver"], cluster)
        self.assertNotIn("10.96.0.10:53", shown["fetch"]["upstreams"])
        self.assertNotIn("resolver", tomllib.loads(rendered("external-cluster").toml)["redis"])

    def test_own_routes(self) -> None:
        """Routes and upstreams of the values stand beside those of the cluster."""
        shown = self.check(rendered("external-sentinel-tls"))
        self.assertEqual(list(shown["fetch"]["routes"]), ["cluster.local", "corp.example"])
        self.assertEqual(shown["fetch"]["upstreams"], ["192.0.2.53:53", "tcp://198.51.100.53:53"])

    def test_numbers(self) -> None:
        """Numbers come through as they were written: whole ones whole, large ones too."""
        shown = self.check(rendered("redis-off"))
        self.assertEqual((shown["cache"]["memory"], shown["accept"]["tcp_connections"]), (1_000_000_000, 5000))
        self.assertEqual((shown["admit"]["rate"], shown["cache"]["stale_window"]), (100.5, 172800))


class Serving(Pod):
    """The Redis of the chart, and nodes that share through it, with Secrets of somebody's own."""

    case = "policies"

    def setUp(self) -> None:
        super().setUp()
        if shutil.which("redis-cli") is None:
            raise SkipTest("no redis-cli: apt-get install redis-tools")
        self.whole = rendered(self.case)
        volumes = self.whole.one("StatefulSet", "heimdall-redis")["spec"]["template"]["spec"]["volumes"]
        [secret] = [volume["secret"] for volume in volumes if "secret" in volume]
        self.password = self.secret(self.whole, secret["secretName"], secret["items"][0])
        self.port = free_port()
        self.redis = self.whole.one("StatefulSet", "heimdall-redis")["spec"]["template"]["spec"]["containers"][0]
        conf = self.whole.one("ConfigMap", "heimdall-redis")["data"]["redis.conf"]
        (self.folder / "data").mkdir()
        conf = conf.replace("dir /data\n", f"dir {self.folder}/data\n").replace("bind * -::*", "bind 127.0.0.1")
        self.write("/etc/redis/redis.conf", f"{conf}\nport {self.port}\n")
        self.write("/run/secrets/redis/password", f"{self.password}\n")
        self.write("/run/redis/nothing", "")
        self.start()

    def start(self) -> None:
        """Start Redis as its container does."""
        script = self.mapped(self.redis["args"][0]).replace("exec redis-server", f"exec {binary()}")
        self.process = subprocess.Popen([*self.redis["command"], script], stdout=subprocess.DEVNULL)
        self.addCleanup(self.process.wait, 60)
        self.addCleanup(self.process.kill)
        wait_for(self.is_ready)

    def is_ready(self) -> bool:
        """Ask the probe of the container."""
        *shell, script = self.redis["readinessProbe"]["exec"]["command"]
        script = self.mapped(script).replace("redis-cli", f"redis-cli -p {self.port}")
        return subprocess.run([*shell, script], check=False, timeout=120).returncode == 0

    def command(self, *command: str, user: str = "heimdall", nobody: bool = False) -> Any:
        """Run a command in Redis as a user, or as nobody without a password; return the reply, or the error as text."""
        password = "" if nobody else self.password
        reader = hiredis.Reader()
        reply: Any = None
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            for one in ([("AUTH", user, password)] if password else []) + [command]:
                connection.sendall(hiredis.pack_command(cast(Any, one)))
                while (reply := reader.gets()) is False:
                    reader.feed(connection.recv(65536))
                if isinstance(reply, Exception):
                    return str(reply)
        return reply

    def node(self, name: str, upstream: SlowUpstream) -> Running:
        """Start a node with what the chart made for it; only the addresses are other ones."""
        file = self.mount(self.whole)
        url = tomllib.loads(self.whole.toml)["redis"]["url"]
        self.assertEqual(url, "redis://heimdall@heimdall-redis.dns.svc.cluster.local:6379")
        environ = {
            "HEIMDALL_CONFIG": str(file),
            "HEIMDALL_PEERS_NODE": name,
            "POD_IP": "192.0.2.7",
            "HEIMDALL_REDIS_READ_BUDGET": "2",  # where answers come from is told below, on a slow machine too
            "HEIMDALL_REDIS_URL": url.replace("heimdall-redis.dns.svc.cluster.local:6379", f"127.0.0.1:{self.port}"),
        }
        node = Running(f"--upstream={upstream.text}", environ=environ)
        self.addCleanup(node.clean)
        wait_for(lambda: node.metric("heimdall_redislink_connection_up"))
        return node

    def test_whole(self) -> None:
        """Nodes share through a Redis that lets nobody else in, and that still knows the answers after its restart."""
        upstream, other = SlowUpstream(0.0, 3600), SlowUpstream(0.0, 1)
        self.addCleanup(other.stop)
        self.addCleanup(upstream.stop)
        one = self.node("heimdall-0", upstream)
        self.assertEqual([one.get(path)[0] for path in self.probed()], [200, 200])
        answer = one.ask("www.example.com").answer
        wait_for(lambda: one.metric("heimdall_cache_redis_writes_total", result="stored"))

        self.assertIn("NOAUTH", self.command("GET", "x", nobody=True))
        self.assertIn("WRONGPASS", self.command("PING", user="default"))
        for forbidden in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["GET", "another:key"]):
            self.assertIn("NOPERM", self.command(*forbidden), forbidden)
        for logged in Path(self.mapped("/run/redis")).iterdir():
            self.assertNotIn(self.password, logged.read_text())

        wait_for(lambda: _synced(self.folder))
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.start()
        two = self.node("heimdall-1", other)
        self.assertEqual(two.ask("www.example.com").answer[0][0], answer[0][0])
        self.assertEqual(two.metric("heimdall_fetch_queries_total"), 0)
        told = two.metric("heimdall_accept_answers_total", origin="redis")
        told += two.metric("heimdall_accept_answers_total", origin="memory")  # it may have got warm with it
        self.assertEqual(told, 1)
        listed = {member["id"]: member["pod_ip"] for member in two.members()["members"]}
        self.assertEqual(listed["heimdall-1"], "192.0.2.7")
        self.assertEqual((one.end(), two.end()), (0, 0))

    def probed(self) -> list[str]:
        """Return the paths that kubelet asks for."""
        container = self.whole.nodes["spec"]["containers"][0]
        return sorted({container[f"{what}Probe"]["httpGet"]["path"] for what in ("startup", "liveness", "readiness")})


class Made(Serving):
    """The same with what the chart makes by itself."""

    case = "default"


class Elsewhere(Pod):
    """A Redis that is there already."""

    def test_tls(self) -> None:
        """Over TLS, the CA, the certificate of our own and the password come from the Secrets that the values name."""
        redis = RedisServer(tls=True, password=SECRET, tls_auth_clients="yes").start()
        self.addCleanup(redis.stop)
        tls = {"secret": "redis-tls", "ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"}
        external = {"url": redis.url, "auth": {"secret": "redis-password"}, "tls": tls}
        whole = render(clusterDNS={"domain": ""}, redis={"external": external})
        file = self.mount(whole)
        for name, path in (("ca", redis.ca_file), ("cert", redis.cert_file), ("key", redis.key_file)):
            self.write(f"/run/secrets/heimdall/redis-{name}.pem", Path(path).read_text(encoding="utf-8"))
        node = Running("--upstream=127.0.0.1:9", environ={"HEIMDALL_CONFIG": str(file)})
        self.addCleanup(node.clean)
        wait_for(lambda: node.metric("heimdall_redislink_connection_up"))
        sources = [
            (source["secret"]["name"], item["key"], item["path"])
            for volume in whole.nodes["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
        ]
        self.assertEqual(
            sources,
            [
                ("redis-password", "password", "redis-password"),
                ("redis-tls", "ca.crt", "redis-ca.pem"),
                ("redis-tls", "tls.crt", "redis-cert.pem"),
                ("redis-tls", "tls.key", "redis-key.pem"),
                ("heimdall-secrets", "seal", "seal"),
            ],
        )


def _synced(folder: Path) -> bool:
    """Say whether the append-only file holds an answer."""
    return any(b"heimdall:" in file.read_bytes() for file in folder.glob("data/appendonlydir/*.incr.aof"))
