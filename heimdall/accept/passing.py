"""Who of a batch may pass: what depends on the client alone is judged once for all its messages, if that is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from heimdall.accept.slots import Host, Slots
from heimdall.interfaces import Drop, IAddressGate, IGate, IRateGate
from heimdall.message.answer import Answer
from heimdall.message.query import Client, Query

MOST_HOSTS = 50_000
"""Hosts of whom it is remembered that they may ask; then all are judged anew."""

_NOBODY: Final[frozenset[Host]] = frozenset()


class Passing:
    """The gates for clients, as a batch meets them.

    :param gates: those that a message meets, in their order.
    """

    def __init__(self, gates: Sequence[IGate]) -> None:
        self._lasting = [gate.judge for gate in gates if IAddressGate.providedBy(gate)]
        counting = [gate for gate in gates if not IAddressGate.providedBy(gate)]
        self._counting = [gate.judge for gate in counting]
        # Two that count would have to be asked both before one of them counts.
        alone = len(counting) == 1 and IRateGate.providedBy(counting[0])
        self._admit = counting[0].admit if alone else None  # type: ignore[attr-defined]
        self._one_by_one = bool(counting) and not alone
        self._hosts: dict[Host, Client] = {}

    def apart(self, hosts: Sequence[Host]) -> Collection[Host]:
        """Return who has to be judged for each of his messages; those of all others have passed.

        :param hosts: who sent each message of a batch.
        """
        first = hosts[0]
        if self._one_by_one:
            return set(hosts)
        if hosts.count(first) == len(hosts):
            return _NOBODY if self._passes(first, len(hosts)) else {first}
        return {host for host, count in Counter(hosts).items() if not self._passes(host, count)}

    def _passes(self, host: Host, count: int) -> bool:
        client = self._hosts.get(host)
        return client is not None and (self._admit is None or self._admit(client, count))

    def judge(self, slots: Slots, index: int, host: Host, query: Query) -> Answer | Drop | None:
        """Return what the gates say of one message; those that look at the address alone are asked once a host."""
        client = self._hosts.get(host)
        query.wire = slots.message(index)
        query.client = client or slots.client(index)
        if client is None:
            for judge in self._lasting:
                verdict = judge(query)
                if verdict is not None:
                    return verdict
            if len(self._hosts) >= MOST_HOSTS:
                self._hosts.clear()
            self._hosts[host] = query.client
        for judge in self._counting:
            verdict = judge(query)
            if verdict is not None:
                return verdict
        return None
