"""The effective configuration is shown as TOML that loads again, with origins and without secrets."""

from __future__ import annotations

import tomllib

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.keys import KEYS
from heimdall.config.load import load
from heimdall.config.show import toml
from tests.config.stage import FILE, from_file, machine

FULL = """
[accept]
listen = ["0.0.0.0:53", "[::]:53"]
[admit]
records = ['router.example TXT "a \\ b"']
block = ["ads.example"]
rate = 12.5
[cache]
memory = "64MiB"
[redis]
url = "rediss://user:s3cret@redis.example:6380/2"
[fetch]
upstreams = ["192.0.2.1", "tcp://[2001:db8::1]:54"]
[fetch.routes]
"cluster.local" = ["10.96.0.10", "10.96.0.11"]
'a\\.b.example' = ["10.96.0.12"]
"""


class ShowTests(SynchronousTestCase):
    """What --check prints."""

    def test_loads_again(self) -> None:
        """What is shown, read as a file, gives the same settings, less the password; with and without comments."""
        loaded = from_file(FULL)
        shown = toml(loaded)
        again = from_file(shown)
        redis = evolve(loaded.settings.redis, url="rediss://user:***@redis.example:6380/2")
        self.assertEqual(again.settings, evolve(loaded.settings, redis=redis))
        bare = "\n".join(line.partition("  # ")[0] for line in shown.splitlines() if not line.startswith("#"))
        self.assertEqual(from_file(bare).settings, again.settings)

    def test_defaults_load_again(self) -> None:
        """A machine without upstreams shows a configuration that loads on it again."""
        loaded = load({}, {}, machine())
        self.assertEqual(from_file(toml(loaded)).settings, loaded.settings)

    def test_small(self) -> None:
        """A number is shown as one writes it, however small, so that an environment variable may have it as well."""
        shown = toml(from_file("[accept]\nudp_coalesce = '50us'"))
        self.assertIn("udp_coalesce = 0.00005  #", shown)

    def test_no_secrets(self) -> None:
        """Neither the secret of the seal is shown, nor a password in any URL."""
        toml_file = '[redis]\nsecret = "s3cret://s3cret-s3cret"\nreplica_url = "redis://:s3cret@h"\n'
        shown = toml(from_file(toml_file))
        self.assertNotIn("s3cret", shown)
        self.assertIn('secret = "***"  #', shown)
        self.assertIn('replica_url = "redis://:***@h"  #', shown)

    def test_complete(self) -> None:
        """Every key is shown, in its section."""
        shown = tomllib.loads(toml(from_file("")))
        self.assertEqual([f"{section}.{name}" for section in shown for name in shown[section]], list(KEYS))

    def test_origins(self) -> None:
        """Behind each key stands where its value came from, in one line whatever the file is called."""
        lines = toml(from_file(FULL)).splitlines()
        self.assertIn(f"memory = 67108864  # file {FILE}", lines)
        self.assertIn("stale = true  # default", lines)
        self.assertIn("allow = [  # default", lines)
        odd = "/a\nb.toml"
        loaded = load({"config": odd}, {}, machine({odd: "[cache]\nstale = false"}))
        self.assertIn("stale = false  # file /a?b.toml", toml(loaded).splitlines())

    def test_no_secret(self) -> None:
        """The password is not shown."""
        self.assertNotIn("s3cret", toml(from_file(FULL)))

    def test_warnings(self) -> None:
        """Warnings stand on top, as comments."""
        shown = toml(load({}, {}, machine()))
        self.assertIn("# warning: no upstreams: /etc/resolv.conf cannot be read", shown)
