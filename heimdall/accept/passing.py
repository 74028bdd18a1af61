"""Who of a batch may pass: what depends on the client alone is judged once for all its messages, if that is enough."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from typing import Final, cast

from heimdall.accept.slots import Host, Slots
from heimdall.interfaces import Drop, IAddressGate, IClientGate, IGate
from heimdall.message.answer import Answer
from heimdall.message.query import Client, Query

MOST_HOSTS = 50_000
"""Hosts of whom it is remembered that they may ask; then the oldest is judged again."""

_NOBODY: Final[frozenset[Host]] = frozenset()


class Passing:
    """The gates for clients, as a batch meets them.

    :param gates: those that a message meets, in their order.
    """

    def __init__(self, gates: Sequence[IGate]) -> None:
        self._gates = [gate.judge for gate in gates]
        counting = [gate for gate in gates if not IAddressGate.providedBy(gate)]
        # Two that count would have to be asked both before one of them counts.
        self._one_by_one = len(counting) > 1 or not all(IClientGate.providedBy(gate) for gate in counting)
        clients = cast(Sequence[IClientGate], () if self._one_by_one else gates)
        self._lasting = [gate.admit for gate in clients if IAddressGate.providedBy(gate)]
        self._counting = [gate.admit for gate in clients if not IAddressGate.providedBy(gate)]
        # The one that came first is forgotten for one that comes: to forget all at once would be a pause.
        self._hosts: OrderedDict[Host, Client] = OrderedDict()

    def __len__(self) -> int:
        """Return of how many hosts it is known that they may ask."""
        return len(self._hosts)

    def forget(self) -> dict[Host, Client]:
        """Forget who may ask; return whom, to be let go of."""
        hosts, self._hosts = self._hosts, OrderedDict()
        return hosts

    def apart(self, slots: Slots, hosts: Sequence[Host]) -> Collection[Host]:
        """Return who has to be judged for each of his messages; those of all others have passed.

        :param hosts: who sent each message of a batch.
        """
        first = hosts[0]
        if self._one_by_one:
            return set(hosts)
        if hosts.count(first) == len(hosts):
            return _NOBODY if self._passes(slots, hosts, first, len(hosts)) else {first}
        return {host for host, count in Counter(hosts).items() if not self._passes(slots, hosts, host, count)}

    def _passes(self, slots: Slots, hosts: Sequence[Host], host: Host, count: int) -> bool:
        client = self._hosts.get(host)
        if client is None:
            client = slots.client(hosts.index(host))
            if not all(admit(client, count) for admit in self._lasting):
                return False
            if len(self._hosts) >= MOST_HOSTS:
                self._hosts.popitem(last=False)
            self._hosts[host] = client
        return all(admit(client, count) for admit in self._counting)

    def judge(self, slots: Slots, index: int, query: Query) -> Answer | Drop | None:
        """Return what the gates say of one message of somebody who has to be judged for each."""
        query.wire = slots.message(index)
        query.client = slots.client(index)
        for judge in self._gates:
            verdict = judge(query)
            if verdict is not None:
                return verdict
        return None
