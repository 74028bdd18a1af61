"""What the log of a node says of clients that it refuses, and how little."""

from __future__ import annotations

import socket

import dns.message
import dns.query
import dns.rcode

from heimdall.episodes import NAMED
from tests.live.test_reload import Case, wait


class Refused(Case):
    """Clients that may not ask, and clients that ask too much."""

    def ask(self, client: str, times: int = 1) -> None:
        """Ask so many times from an address of this machine, and wait for no reply."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((client, 0))
            udp.connect(("127.0.0.1", self.node.port))
            for _ in range(times):
                udp.send(dns.message.make_query("a.example", "A").to_wire())

    def test_limited(self) -> None:
        """A network over its rate is named once, however much it asks; so it is over TCP."""
        self.start("[admit]\nrate = 1\nburst = 2\nrate_prefix4 = 32\n")
        self.ask("127.0.0.5", 200)
        wait(lambda: self.node.metric("heimdall_admit_limited_total") >= 198, "all but the burst are over it")
        for _ in range(5):
            replied = self.node.ask("a.example", tcp=True)
        self.assertEqual(replied.rcode(), dns.rcode.REFUSED)
        for network in ("127.0.0.5/32", "127.0.0.1/32"):
            self.assertEqual(self.node.log.count(f"Over the rate limit (admit.rate): {network}; "), 1, self.node.log)

    def test_denied(self) -> None:
        """Of many clients that may not ask some are named, once each, and one line stands for all others."""
        self.start('[admit]\nallow = ["127.0.0.1"]\n')
        for number in range(2, 102):
            self.ask(f"127.0.0.{number}", 3)
        wait(lambda: self.node.metric("heimdall_admit_refused_total") == 300, "all were refused")
        told = [line for line in self.node.log.splitlines() if "Not among admit.allow: " in line]
        self.assertEqual(len(told), NAMED + 1, self.node.log)
        self.assertIn("127.0.0.2; it is answered REFUSED", told[0])
        self.assertIn(f"others, beside the {NAMED} that are named", told[-1])
