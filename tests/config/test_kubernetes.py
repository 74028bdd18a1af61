"""The variables that Kubernetes puts into every pod do no harm."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.keys import KEYS, SECTIONS
from heimdall.config.load import load
from heimdall.config.settings import Settings
from heimdall.config.sources import CONFIG, OPTIONS, SWITCHES
from tests.config.stage import machine


def injected(service: str, port: str = "tcp://10.96.1.1:6379") -> dict[str, str]:
    """Return the variables that a Service of this name brings."""
    name = service.upper().replace("-", "_")
    return {
        f"{name}_SERVICE_HOST": "10.96.1.1",
        f"{name}_SERVICE_PORT": "6379",
        f"{name}_SERVICE_PORT_DNS_TCP": "6379",
        f"{name}_PORT": port,
        f"{name}_PORT_6379_TCP": port,
        f"{name}_PORT_6379_TCP_PROTO": "tcp",
        f"{name}_PORT_6379_TCP_PORT": "6379",
        f"{name}_PORT_6379_TCP_ADDR": "10.96.1.1",
    }


class InjectedTests(SynchronousTestCase):
    """No Service, whatever it is called, changes a setting."""

    def test_names_never_meet(self) -> None:
        """None of our variables is one that a Service could bring."""
        shape = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT(_|$)")
        for variable in [CONFIG, "REDIS_URL", *(key.variable for key in KEYS.values())]:
            self.assertIsNone(shape.search(variable), variable)

    def test_services(self) -> None:
        """Services called heimdall, or heimdall and a section, set nothing and cause no warning."""
        environ: dict[str, str] = {}
        for service in ["heimdall", *(f"heimdall-{section}" for section in SECTIONS if section != "redis")]:
            environ |= injected(service)
        loaded = load({"upstream": ["192.0.2.1"]}, environ, machine())
        self.assertEqual({path for path in KEYS if loaded.asked(path)}, {"fetch.upstreams"})
        self.assertEqual(loaded.warnings, ())

    def test_redis(self) -> None:
        """The Service heimdall-redis is used, and its variable HEIMDALL_REDIS_PORT, a URL, is not read as a port."""
        loaded = load({"upstream": ["192.0.2.1"]}, injected("heimdall-redis"), machine())
        self.assertEqual(loaded.settings.redis.url, "redis://10.96.1.1:6379")
        self.assertEqual(loaded.settings.cache, Settings().cache)
        self.assertEqual(loaded.warnings, ())

    def test_slips(self) -> None:
        """A variable of our own that was misspelt is warned of, with the right one."""
        environ = dict.fromkeys(
            ("HEIMDALL_FETCH_UPSTREAM", "HEIMDALL_CACHE_Q", "HEIMDALL_VERSION", "HEIMDALL_LISTEN"), "1"
        )
        loaded = load({"upstream": ["192.0.2.1"]}, environ, machine())
        self.assertEqual(
            loaded.warnings,
            (
                "environment HEIMDALL_CACHE_Q sets nothing",
                "environment HEIMDALL_FETCH_UPSTREAM sets nothing; did you mean HEIMDALL_FETCH_UPSTREAMS?",
                "environment HEIMDALL_LISTEN sets nothing; did you mean HEIMDALL_ACCEPT_LISTEN?",
            ),
        )

    def test_options_lead_to_keys(self) -> None:
        """Every option stands for a key that exists."""
        self.assertEqual({*OPTIONS.values(), *SWITCHES.values()} - set(KEYS), set())
