"""Why there is no connection, in words that a person can use."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase

from heimdall.redislink.gone import REMEDIES, Gone


class Reasons(SynchronousTestCase):
    """What errors mean."""

    def test_tls(self) -> None:
        """A failure of TLS is told by what went wrong, not by OpenSSL's names for where."""
        error = Gone.of(SSL.Error([("SSL routines", "tls_process", "certificate verify failed")]))
        self.assertEqual((error.reason, str(error)), ("tls", "TLS failed: certificate verify failed"))
        self.assertIn("redis.ca_file", REMEDIES["tls"])
        for unusual in (SSL.Error(), SSL.Error("x"), SSL.Error([])):
            self.assertTrue(str(Gone.of(unusual)).startswith("TLS failed: "))

    def test_system(self) -> None:
        """What the system says is told once, in its own words."""
        for error, text in ((ConnectionRefusedError(111), "Connection refused"), (ConnectError(2), "No such file")):
            told = Gone.of(error)
            self.assertEqual(told.reason, "refused")
            self.assertTrue(str(told).startswith(text), told)

    def test_at_a_socket(self) -> None:
        """The advice on a Unix socket speaks of no network and of no TLS; at a host both may be at fault."""
        for reason in REMEDIES:
            advice = Gone(reason, "it went").advice("unix:///run/redis.sock")
            self.assertEqual(advice.startswith("it went"), True)
            if reason != "tls":
                self.assertNotIn("TLS", advice)
                self.assertNotIn("packets", advice)
        self.assertIn("is TLS used at both ends", Gone("lost", "it went").advice("redis://127.0.0.1:6379/0"))
