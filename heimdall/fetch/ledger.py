"""What the whole leg counts: one ledger, shared by every server and every group."""

from __future__ import annotations

from collections.abc import Callable

from heimdall.tally import Count, Gauge, Tally, Times


class Ledger:
    """The counters of fetch.

    A server that several groups ask has one line in each gauge.
    """

    def __init__(self) -> None:
        self.queries = Count("heimdall_fetch_queries_total", "Questions that reached the upstreams, by end.", "result")
        self.answered = self.queries.cell("answer")
        self.asked = Count("heimdall_fetch_asked_total", "Questions sent to one server, by reason.", "why")
        self.first = self.asked.cell("first")
        self.mismatched = Count(
            "heimdall_fetch_mismatched_total", "Responses to another question, or from a stranger, waited past.", "what"
        )
        self.unusable = Count(
            "heimdall_fetch_unusable_total", "What came of asking a server and was no answer, by reason.", "reason"
        )
        self.failed = Count("heimdall_fetch_failed_total", "Exchanges with one server that failed.", "what")
        self.truncated = Count(
            "heimdall_fetch_truncated_total", "Replies with TC over UDP, by what came of it.", "then"
        )
        self.plain = Count("heimdall_fetch_plain_total", "Times a server was found not to understand EDNS.")
        self.seconds = Times("heimdall_fetch_upstream_seconds", "Time from a question to one server to its answer.")
        self._servers: dict[str, tuple[Callable[[], bool], Callable[[], float], Callable[[], int]]] = {}
        self.tallies: list[Tally] = [
            self.queries, self.asked, self.mismatched, self.unusable, self.failed, self.truncated, self.plain,
            self.seconds,
            Gauge("heimdall_fetch_upstream_up", "Whether a server answers.", self._up, "server", across="min"),
            Gauge(
                "heimdall_fetch_upstream_rtt_seconds", "Smoothed round-trip time to a server.", self._rtt, "server",
                across="max",
            ),
            Gauge("heimdall_fetch_inflight_queries", "Questions that wait for a reply.", self._inflight, "server"),
        ]  # fmt: skip

    def enter(self, server: str, up: Callable[[], bool], rtt: Callable[[], float], inflight: Callable[[], int]) -> None:
        """List a server in the gauges.

        :param server: how operators know it: its address.
        :param up: whether it answers; ``rtt`` its round-trip time in seconds; ``inflight`` what waits for it.
        """
        self._servers[server] = (up, rtt, inflight)

    def _up(self) -> dict[str, float]:
        return {server: float(up()) for server, (up, _, _) in self._servers.items()}

    def _rtt(self) -> dict[str, float]:
        return {server: rtt() for server, (_, rtt, _) in self._servers.items()}

    def _inflight(self) -> dict[str, float]:
        return {server: float(inflight()) for server, (_, _, inflight) in self._servers.items()}
